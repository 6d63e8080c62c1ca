import DejaVuCPU
import DejaVuCore
package import DejaVuModels

extension Sparsity {
  /// The same plan, its choosers' matrices side by side in the order that a token reads them.
  package func inOneArena() -> Sparsity {
    let sites = choosers.keys.sorted {
      ($0.layer, $0.axis == .heads ? 0 : 1) < ($1.layer, $1.axis == .heads ? 0 : 1)
    }
    var arena = ChooserArena(for: sites.compactMap { choosers[$0] })
    var adopted = choosers
    for site in sites { adopted[site] = choosers[site].map { arena.adopt($0) } }
    return Sparsity(plan: plan, choosers: adopted)
  }
}
