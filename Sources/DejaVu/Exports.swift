// What `import DejaVu` gives: the types that its own public functions take, return and throw.
@_exported public import DejaVuCPU
@_exported public import DejaVuCore
@_exported public import DejaVuFormats
@_exported public import DejaVuModels
@_exported public import DejaVuTokenizers
