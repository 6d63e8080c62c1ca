import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// A flag that one thread raises and another looks at.
package final class CancellationFlag: Sendable {
  private let raised = Atomic<Bool>(false)

  package init() {}
  package var isSet: Bool { raised.load(ordering: .relaxed) }
  package func set() { raised.store(true, ordering: .relaxed) }
}

enum ProcessorCount {
  /// Processors that are online.
  static var available: Int { Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))) }
}
