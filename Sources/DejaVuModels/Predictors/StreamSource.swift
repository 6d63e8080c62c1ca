package import DejaVuCore

/// A residual stream that predictors read.
package struct StreamSource: Hashable, Sendable {
  package let site: StepSite
  package let layer: Int

  /// The stream that a predictor of this place looks at.
  package init(_ predictor: PredictorSite) {
    let layer = predictor.layer
    switch (predictor.axis, predictor.placement) {
    case (.neurons, .afterAttention): (site, self.layer) = (.mlpInput, layer)
    case (.heads, .blockAhead): (site, self.layer) = (.mlpInput, layer - 1)
    case (_, .layerAhead): (site, self.layer) = (.attentionInput, layer - 1)
    default: (site, self.layer) = (.attentionInput, layer)
    }
  }

  /// What passes by at `site` of a layer.
  package init(site: StepSite, layer: Int) {
    self.site = site
    self.layer = layer
  }
}
