extension ExistenceReport {
  init(model: Model, method: Method) {
    self.model = model
    self.method = method
    twoPass = TwoPassResult(agreement: 0, rows: [])
    (norms, sharing, drift, clustering) = ([], [], [], [])
    (selectorLayers, selectors, choosers, notes) = ([], [], [], [])
  }
}
