import DejaVuFormats
import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuModels
import DejaVuEvaluation
@main struct Main { static func main() throws {
  let args = CommandLine.arguments
  let threads = Int(args[2])!
  let team = try ThreadTeam(threads: threads)
  let clock = ContinuousClock(); let t0 = clock.now
  var so = SyntheticModel.Options(); if args.count > 3, args[3] == "bf16" { so.dtype = .bfloat16 }
  let synthetic = try SyntheticModel(shape: ModelShape.named(args[1])!, options: so, team: team)
  print("made", clock.now - t0)
  let opt = CPUOptions(threads: threads)
  let engine = try Engine(model: synthetic.model, backend: .cpu(opt))
  let bw = try MemoryBandwidth(team: team, weights: UnsafeRawBufferPointer(start: synthetic.memory.base, count: synthetic.memory.count))
  var w = Workload(); w.rounds = 3
  let sg = ProductRate(tokens: 512, columns: 8192, inner: 2048, threads: threads)
  var run = SpeedRun(engine: engine, workload: w)
  for r in 0..<w.rounds { try run.round(r) { bw.sample() }; sg?.sample() }
  print("bandwidth", bw.median, bw.gigabytesPerSecond.max()!, "sgemm", sg?.median ?? 0)
  for d in run.decode { print(d.mode, d.depth, d.median, d.p95, d.tokensPerSecond, d.bytesPerToken/1e6, d.bandwidth, d.bandwidth/bw.median) }
  for p in run.prompt { print("prompt", p.tokens, p.median, p.gigaflopsPerSecond) }
} }
