import DejaVuCore
import DejaVuModels
import DejaVuTestSupport
import Testing

struct PlanTextTests {
  private static let reader = PlanReader(architecture: TinyModel.opt.architecture, path: "p")

  @Test func `plans come back as they were written`() throws {
    let policies: [RowPolicy] = [
      .all, .nonzero, .oracle(.threshold(-3e-7)), .oracle(.highest(3)), .fixed([0, 1, 3]),
      .random(density: 0.1, seed: 7), .random(density: 1, seed: .max),
      .lowRank(.layerAhead, .highest(3)), .lowRank(.blockAhead, .threshold(1e-12)),
      .lowRank(.embedding, .highest(1)),
    ]
    let nearest = [
      RowPolicy.nearest(.highest(9)), .nearest(.threshold(0.5)), .nested(.threshold(-0.25)),
      .nested(.highest(172)),
    ]
    let shadows = Placement.allCases.flatMap { placement in
      [2, 4, 8].map { RowPolicy.shadow(bits: $0, placement, .threshold(1 / Float($0 * 3))) }
    }
    var plans: [SparsityPlan] = []
    for (index, neurons) in (policies + nearest + shadows).enumerated() {
      let heads = policies[index % policies.count]
      var plan = SparsityPlan(
        name: "\(index) % \"of\" \\ all\n\u{1}é", weightFormat: "float16", window: index,
        layers: [
          LayerPlan(heads: heads, neurons: neurons), LayerPlan(heads: .all, neurons: .nonzero),
          LayerPlan(heads: .all, neurons: .all),
        ], measured: ["loss \"increase\"": 0.1 + 0.2, "share": 1e-300])
      plan.layers[1].measured = ["density": 1.0 / 3]
      plan.layers[0].neuronCurve = DensityCurve([
        .init(density: 0.1, threshold: 1.0 / 3), .init(density: 0.7, threshold: -2e-9),
      ])
      plan.layers[2].headCurve = DensityCurve([.init(density: 1, threshold: Float(index))])
      plans.append(plan)
    }
    #expect(try Self.reader.plans(in: PlanText.text(plans)) == plans)
    #expect(try Self.reader.plans(in: PlanText.text([])) == [])
  }

  @Test func `figures that are not finite are left out`() throws {
    var plan = SparsityPlan.uniform("p", layers: 3)
    plan.measured = ["fine": 2, "nan": .nan, "infinite": .infinity]
    let read = try Self.reader.plans(in: PlanText.text([plan]))
    #expect(read[0].measured == ["fine": 2])
  }

  /// A plan of three layers whose last has these heads and neurons.
  private static func text(
    heads: String = #"{"kind":"all"}"#, neurons: String = #"{"kind":"all"}"#, window: String = "16"
  ) -> String {
    let plain = #"{"heads":{"kind":"all"},"neurons":{"kind":"all"}}"#
    return """
      {"p":{"window":\(window),"layers":[\(plain),\(plain),{"heads":\(heads),"neurons":\(neurons)}]}}
      """
  }

  /// The same with a curve of its neurons.
  private static func curved(_ curve: String) -> String {
    text(neurons: #"{"kind":"all"},"neuron_curve":\#(curve)"#)
  }

  private static func policy(_ members: String) -> String { text(neurons: "{\(members)}") }

  static let hostile: [(text: String, reason: String)] = [
    ("", "its plans: "),
    ("{", "its plans: "),
    ("[]", "its plans are an array"),
    ("7", "its plans are a number"),
    (#"{"p":{"window":-inf}}"#, "its plans: "),
    (String(repeating: #"{"p":"#, count: 4000), "its plans: "),
    (#"{"p":7}"#, "plan 'p' has 0 layers, not 3"),
    (#"{"p":{"layers":{}}}"#, "plan 'p' has 0 layers, not 3"),
    (#"{"p":{"layers":[1,2]}}"#, "plan 'p' has 2 layers, not 3"),
    (#"{"p":{"layers":[1,2,3]}}"#, "the window of plan 'p' is not a number from 0 to 4096"),
    (text(window: "-1"), "the window of plan 'p' is not a number from 0 to 4096"),
    (text(window: "4097"), "the window of plan 'p' is not a number from 0 to 4096"),
    (text(window: "1.5"), "the window of plan 'p' is not a number from 0 to 4096"),
    (text(window: "99999999999999999999"), "the window of plan 'p' is not a number"),
    (#"{"p":{"window":1,"layers":[1,2,3]}}"#, "a layer of plan 'p' lacks heads or neurons"),
    (text(heads: "7"), "plan 'p' has rows of kind 'nothing'"),
    (policy(#""kind":"every""#), "plan 'p' has rows of kind 'every'"),
    (policy(#""kind":"oracle""#), "'threshold' in plan 'p' is not a finite number"),
    (policy(#""kind":"oracle","threshold":1e400"#), "'threshold' in plan 'p' is not a finite"),
    (policy(#""kind":"oracle","threshold":-1e39"#), "'threshold' in plan 'p' is not a finite"),
    (
      policy(#""kind":"oracle","count":173"#),
      "a count in plan 'p' is not from 1 to 172"
    ),
    (policy(#""kind":"nearest","count":0"#), "a count in plan 'p' is not from 1 to 172"),
    (text(heads: #"{"kind":"nearest","count":2}"#), "plan 'p' has nearest rows for heads"),
    (text(heads: #"{"kind":"nested","count":2}"#), "plan 'p' has halves of rows for heads"),
    (policy(#""kind":"nested""#), "'threshold' in plan 'p' is not a finite number"),
    (policy(#""kind":"nested","count":173"#), "a count in plan 'p' is not from 1 to 172"),
    (policy(#""kind":"shadow","bits":3"#), "a shadow of plan 'p' has neither 2, 4 nor 8 bits"),
    (policy(#""kind":"shadow","bits":"4""#), "a shadow of plan 'p' has neither 2, 4 nor 8 bits"),
    (policy(#""kind":"shadow","bits":4"#), "a placement in plan 'p' is unknown"),
    (policy(#""kind":"low-rank","placement":"later""#), "a placement in plan 'p' is unknown"),
    (policy(#""kind":"low-rank","placement":"same""#), "'threshold' in plan 'p' is not a finite"),
    (
      policy(#""kind":"low-rank","placement":"same","count":0"#),
      "a count in plan 'p' is not from 1 to 172"
    ),
    (
      policy(#""kind":"low-rank","placement":"same","count":173"#),
      "a count in plan 'p' is not from 1 to 172"
    ),
    (policy(#""kind":"fixed""#), "plan 'p' has an empty list of rows"),
    (policy(#""kind":"fixed","rows":[]"#), "plan 'p' has an empty list of rows"),
    (policy(#""kind":"fixed","rows":[172]"#), "rows of plan 'p' do not ascend within 0..<172"),
    (policy(#""kind":"fixed","rows":[-1]"#), "rows of plan 'p' do not ascend within 0..<172"),
    (policy(#""kind":"fixed","rows":[3,3]"#), "rows of plan 'p' do not ascend within 0..<172"),
    (policy(#""kind":"fixed","rows":[5,4]"#), "rows of plan 'p' do not ascend within 0..<172"),
    (policy(#""kind":"fixed","rows":[4294967296]"#), "rows of plan 'p' do not ascend"),
    (policy(#""kind":"random","density":0,"seed":1"#), "random rows of plan 'p' need a density"),
    (policy(#""kind":"random","density":1.1,"seed":1"#), "random rows of plan 'p' need a density"),
    (policy(#""kind":"random","density":0.5,"seed":-1"#), "random rows of plan 'p' need a density"),
    (policy(#""kind":"random","density":0.5"#), "random rows of plan 'p' need a density"),
    (
      text(heads: #"{"kind":"shadow","bits":4,"placement":"same","threshold":0}"#),
      "plan 'p' has a shadow for heads"
    ),
    (
      text(heads: #"{"kind":"low-rank","placement":"after-attention","threshold":0}"#),
      "plan 'p' chooses heads from the stream behind their attention"
    ),
    (text(heads: #"{"kind":"fixed","rows":[4]}"#), "rows of plan 'p' do not ascend within 0..<4"),
    (curved("[[0.5,1],[0.4,2]]"), "a curve of plan 'p' does not ascend"),
    (curved("[[0.4,1],[0.5,2]]"), "a curve of plan 'p' does not ascend"),
    (curved("[[0.4,1],[0.4,1]]"), "a curve of plan 'p' does not ascend"),
    (curved("[[1.5,1]]"), "a curve of plan 'p' has a point that is no share and score"),
    (curved("[[0.5,1e39]]"), "a curve of plan 'p' has a point that is no share and score"),
    (curved("[[0.5]]"), "a curve of plan 'p' has a point that is no share and score"),
    (curved("[0.5]"), "a curve of plan 'p' has a point that is no share and score"),
  ]

  @Test(arguments: hostile)
  func `a text that no model can follow is refused in words`(text: String, reason: String) {
    do throws(PredictorError) {
      let plans = try Self.reader.plans(in: text)
      Issue.record("\(text.prefix(80)) was read as \(plans)")
    } catch {
      guard case .damaged(let path, let found) = error else {
        Issue.record("\(error)")
        return
      }
      #expect(path == "p")
      #expect(found.hasPrefix(reason), "\(found) for \(text.prefix(120))")
    }
  }
}
