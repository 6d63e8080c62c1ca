import DejaVu
import DejaVuEvaluation

/// `dejavu bench --gather`: rows multiplied where they lie, against copies of them.
extension Bench {
  func runGather(_ shape: ModelShape) throws {
    var options = GatherBench.Options()
    let workload = workload.workload(sweeps: false)
    options.dtype = synthetic.options.dtype
    options.seed = synthetic.options.seed
    options.threads = workload.threads
    options.rounds = workload.rounds
    options.instructionSet = workload.instructionSet
    if !sparse.mlpDensity.isEmpty {
      options.densities = WorkloadOptions.unique(sparse.mlpDensity)
    }
    let bench = try GatherBench(shape: shape, options: options)
    let bar = ProgressBar("measuring", isShown: !output.quiet, unit: .steps)
    var done = 0
    let report = try bench.run {
      try Interrupt.check()
      bar.update(done: done, of: bench.steps)
      done += 1
    }
    bar.finish()
    try StandardOutput.write(output.json ? try report.json() + "\n" : report.text)
  }
}
