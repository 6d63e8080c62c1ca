package import DejaVuCore
import DejaVuJSON

/// Plans as the JSON object of a predictor file: `{"1%": {"layers": [...], ...}}`.
package enum PlanText {
  /// All plans as JSON text; every number in it is finite.
  package static func text(_ plans: [SparsityPlan]) -> String {
    "{" + plans.map { "\(JSON.quoted($0.name)):\(object($0))" }.joined(separator: ",") + "}"
  }

  private static func object(_ plan: SparsityPlan) -> String {
    let layers = plan.layers.map { layer in
      "{\"heads\":\(object(layer.heads)),\"neurons\":\(object(layer.neurons)),"
        + "\"measured\":\(object(layer.measured))\(member("head_curve", layer.headCurve))"
        + "\(member("neuron_curve", layer.neuronCurve))}"
    }
    return "{\"weight_format\":\(JSON.quoted(plan.weightFormat)),\"window\":\(plan.window),"
      + "\"measured\":\(object(plan.measured)),\"layers\":[\(layers.joined(separator: ","))]}"
  }

  private static func object(_ measured: [String: Double]) -> String {
    let members = measured.sorted { $0.key < $1.key }.filter { $0.value.isFinite }
    return "{" + members.map { "\(JSON.quoted($0.key)):\($0.value)" }.joined(separator: ",") + "}"
  }

  private static func object(_ policy: RowPolicy) -> String {
    switch policy {
    case .all: "{\"kind\":\"all\"}"
    case .nonzero: "{\"kind\":\"nonzero\"}"
    case .oracle(let rule): "{\"kind\":\"oracle\",\(member(rule))}"
    case .nearest(let rule): "{\"kind\":\"nearest\",\(member(rule))}"
    case .shadow(let bits, let placement, let rule):
      "{\"kind\":\"shadow\",\"bits\":\(bits),\"placement\":\"\(placement.rawValue)\",\(member(rule))}"
    case .nested(let rule): "{\"kind\":\"nested\",\(member(rule))}"
    case .lowRank(let placement, let rule):
      "{\"kind\":\"low-rank\",\"placement\":\"\(placement.rawValue)\",\(member(rule))}"
    case .fixed(let rows):
      "{\"kind\":\"fixed\",\"rows\":[\(rows.map(String.init).joined(separator: ","))]}"
    case .random(let density, let seed):
      "{\"kind\":\"random\",\"density\":\(density),\"seed\":\(seed)}"
    }
  }

  private static func member(_ rule: ChoiceRule) -> String {
    switch rule {
    case .threshold(let threshold): "\"threshold\":\(threshold)"
    case .highest(let count): "\"count\":\(count)"
    }
  }

  /// Pairs of density and threshold; nothing for a curve without points.
  private static func member(_ name: String, _ curve: DensityCurve) -> String {
    guard !curve.points.isEmpty else { return "" }
    let pairs = curve.points.map { "[\($0.density),\($0.threshold)]" }
    return ",\"\(name)\":[\(pairs.joined(separator: ","))]"
  }
}

/// Reads plans back, distrusting every number.
package struct PlanReader {
  private let architecture: Architecture
  private let path: String

  /// A reader for one model.
  ///
  /// - Parameters:
  ///   - architecture: of the model that is to follow the plans.
  ///   - path: the file that the text came from, for messages.
  package init(architecture: Architecture, path: String) {
    self.architecture = architecture
    self.path = path
  }

  /// - Throws: ``PredictorError/damaged(path:reason:)`` for a plan that this model cannot follow.
  package func plans(in text: String) throws(PredictorError) -> [SparsityPlan] {
    let json: JSON
    do throws(JSONError) {
      json = try JSON.parse(text.utf8, limits: JSONLimits(depth: 12, values: 4 << 20))
    } catch {
      throw damaged("its plans: \(error.description)")
    }
    guard let members = json.members else { throw damaged("its plans are \(json.kind)") }
    var plans: [SparsityPlan] = []
    for member in members { plans.append(try plan(member.key.text, member.value)) }
    return plans
  }

  private func damaged(_ reason: String) -> PredictorError {
    .damaged(path: path, reason: reason)
  }

  private func plan(_ name: String, _ value: JSON) throws(PredictorError) -> SparsityPlan {
    guard let elements = value["layers"]?.elements, elements.count == architecture.layers else {
      throw damaged(
        "plan '\(name)' has \(value["layers"]?.elements?.count ?? 0) layers, not "
          + "\(architecture.layers)")
    }
    guard let window = value["window"]?.integer, (0...4096).contains(window) else {
      throw damaged("the window of plan '\(name)' is not a number from 0 to 4096")
    }
    var layers: [LayerPlan] = []
    for element in elements {
      guard let heads = element["heads"], let neurons = element["neurons"] else {
        throw damaged("a layer of plan '\(name)' lacks heads or neurons")
      }
      var layer = LayerPlan(
        heads: try policy(heads, .heads, name), neurons: try policy(neurons, .neurons, name))
      layer.measured = figures(element["measured"])
      layer.headCurve = try curve(element["head_curve"], name)
      layer.neuronCurve = try curve(element["neuron_curve"], name)
      layers.append(layer)
    }
    return SparsityPlan(
      name: name, weightFormat: value["weight_format"]?.text ?? "any", window: window,
      layers: layers, measured: figures(value["measured"]))
  }

  private func figures(_ value: JSON?) -> [String: Double] {
    var figures: [String: Double] = [:]
    for member in value?.members ?? [] {
      if let number = member.value.double { figures[member.key.text] = number }
    }
    return figures
  }

  private func curve(_ value: JSON?, _ plan: String) throws(PredictorError) -> DensityCurve {
    var points: [DensityCurve.Point] = []
    for element in value?.elements ?? [] {
      guard let pair = element.elements, pair.count == 2, let density = pair[0].double,
        (0...1).contains(density), let threshold = pair[1].double, abs(threshold) < 1e30
      else { throw damaged("a curve of plan '\(plan)' has a point that is no share and score") }
      points.append(.init(density: density, threshold: Float(threshold)))
    }
    let curve = DensityCurve(points)
    guard curve.points == points else {
      throw damaged("a curve of plan '\(plan)' does not ascend")
    }
    return curve
  }

  private func policy(
    _ value: JSON, _ axis: RowAxis, _ plan: String
  ) throws(PredictorError) -> RowPolicy {
    let rows = axis.rows(architecture)
    switch value["kind"]?.text {
    case "all": return .all
    case "nonzero": return .nonzero
    case "oracle": return .oracle(try rule(value, rows, plan))
    case "nearest":
      // Heads have no rows that an input could be near to.
      guard axis == .neurons else { throw damaged("plan '\(plan)' has nearest rows for heads") }
      return .nearest(try rule(value, rows, plan))
    case "shadow":
      guard let bits = value["bits"]?.integer, [2, 4, 8].contains(bits) else {
        throw damaged("a shadow of plan '\(plan)' has neither 2, 4 nor 8 bits")
      }
      // A shadow scores neurons; heads have none.
      guard axis == .neurons else { throw damaged("plan '\(plan)' has a shadow for heads") }
      return .shadow(bits: bits, try placement(value, axis, plan), try rule(value, rows, plan))
    case "nested":
      guard axis == .neurons else { throw damaged("plan '\(plan)' has halves of rows for heads") }
      return .nested(try rule(value, rows, plan))
    case "low-rank":
      return .lowRank(try placement(value, axis, plan), try rule(value, rows, plan))
    case "fixed": return .fixed(try list(value, rows, plan))
    case "random":
      let density = try number(value, "density", plan)
      guard density > 0, density <= 1, let seed = seed(value["seed"]) else {
        throw damaged("random rows of plan '\(plan)' need a density in (0, 1] and a seed")
      }
      return .random(density: density, seed: seed)
    default:
      throw damaged("plan '\(plan)' has rows of kind '\(value["kind"]?.text ?? "nothing")'")
    }
  }

  private func number(
    _ value: JSON, _ name: String, _ plan: String
  ) throws(PredictorError) -> Double {
    guard let found = value[name]?.double, abs(found) < 1e30 else {
      throw damaged("'\(name)' in plan '\(plan)' is not a finite number")
    }
    return found
  }

  /// All 64 bits of a seed, of which an Int holds only half the values.
  private func seed(_ value: JSON?) -> UInt64? {
    guard case .number(let number) = value else { return nil }
    return UInt64(number.spelling)
  }

  private func placement(
    _ value: JSON, _ axis: RowAxis, _ plan: String
  ) throws(PredictorError) -> Placement {
    guard let placement = value["placement"]?.text.flatMap(Placement.init) else {
      throw damaged("a placement in plan '\(plan)' is unknown")
    }
    // Heads run before the stream behind them is there.
    guard axis == .neurons || placement != .afterAttention else {
      throw damaged("plan '\(plan)' chooses heads from the stream behind their attention")
    }
    return placement
  }

  private func rule(
    _ value: JSON, _ rows: Int, _ plan: String
  ) throws(PredictorError) -> ChoiceRule {
    guard let count = value["count"] else {
      return .threshold(Float(try number(value, "threshold", plan)))
    }
    guard let count = count.integer, (1...rows).contains(count) else {
      throw damaged("a count in plan '\(plan)' is not from 1 to \(rows)")
    }
    return .highest(count)
  }

  private func list(_ value: JSON, _ rows: Int, _ plan: String) throws(PredictorError) -> [Int32] {
    var list: [Int32] = []
    for element in value["rows"]?.elements ?? [] {
      guard let row = element.integer, row >= 0, row < rows, row > Int(list.last ?? -1) else {
        throw damaged("rows of plan '\(plan)' do not ascend within 0..<\(rows)")
      }
      list.append(Int32(row))
    }
    guard !list.isEmpty else { throw damaged("plan '\(plan)' has an empty list of rows") }
    return list
  }
}
