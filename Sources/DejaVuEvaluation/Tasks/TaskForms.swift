import DejaVuJSON

/// From a published row to what lm-evaluation-harness asks; each function follows one of its task
/// files.
enum TaskForms {
  static func form(_ task: TaskName, _ row: TaskRow) throws(TaskError) -> TaskItem.Form {
    switch task {
    case .cb: try commitment(row)
    case .copa: try cause(row)
    case .lambada: try lastWord(row)
    case .openbookqa: try science(row, prefix: "", suffix: "")
    case .arcEasy, .arcChallenge: try science(row, prefix: "Question: ", suffix: "\nAnswer:")
    case .piqa: try physical(row)
    case .rte: try entailment(row)
    case .winogrande: try pronoun(row)
    case .hellaswag: try ending(row)
    case .boolq: try yesNo(row)
    }
  }

  private static func commitment(_ row: TaskRow) throws(TaskError) -> TaskItem.Form {
    let (premise, hypothesis) = (try row.text("premise"), try row.text("hypothesis"))
    return .answers(
      question: premise + "\nQuestion: " + hypothesis + ". True, False, or Neither?\nAnswer:",
      answers: ["True", "False", "Neither"],
      gold: try row.label(
        "label", names: ["entailment", "contradiction", "neutral"], count: 3))
  }

  /// The harness puts a space in front of answers that begin with one; so do we.
  private static func cause(_ row: TaskRow) throws(TaskError) -> TaskItem.Form {
    let connectors = ["cause": "because", "effect": "therefore"]
    guard let connector = connectors[try row.text("question")] else {
      throw row.error("'question' is neither 'cause' nor 'effect'")
    }
    let premise = PythonText.dropLast(PythonText.strip(try row.text("premise")))
    let answers = [try row.text("choice1"), try row.text("choice2")]
    return .answers(
      question: premise + " " + connector,
      answers: answers.map { " " + PythonText.lowercasingFirst($0) },
      gold: try row.label("label", count: 2))
  }

  private static func lastWord(_ row: TaskRow) throws(TaskError) -> TaskItem.Form {
    let text = try row.text("text")
    guard let parts = PythonText.partedAtLastSpace(text) else {
      return .word(text: "", word: " " + text)
    }
    return .word(text: parts.before, word: " " + parts.after)
  }

  private static func physical(_ row: TaskRow) throws(TaskError) -> TaskItem.Form {
    .answers(
      question: "Question: " + (try row.text("goal")) + "\nAnswer:",
      answers: [try row.text("sol1"), try row.text("sol2")],
      gold: try row.label("label", count: 2))
  }

  private static func entailment(_ row: TaskRow) throws(TaskError) -> TaskItem.Form {
    let premise = try row.text("premise", "sentence1")
    let hypothesis = try row.text("hypothesis", "sentence2")
    return .answers(
      question: premise + "\nQuestion: " + hypothesis + " True or False?\nAnswer:",
      answers: ["True", "False"],
      gold: try row.label("label", names: ["entailment", "not_entailment"], count: 2))
  }

  private static func pronoun(_ row: TaskRow) throws(TaskError) -> TaskItem.Form {
    guard let parts = PythonText.partedAtBlank(try row.text("sentence")) else {
      throw row.error("'sentence' has no '_'")
    }
    guard let gold = ["1", "2"].firstIndex(of: try row.text("answer")) else {
      throw row.error("'answer' is neither \"1\" nor \"2\"")
    }
    return .beginnings(
      [parts.before + (try row.text("option1")), parts.before + (try row.text("option2"))],
      ending: PythonText.strip(parts.after), gold: gold)
  }

  private static func ending(_ row: TaskRow) throws(TaskError) -> TaskItem.Form {
    func cleaned(_ text: String) -> String {
      let dotted = PythonText.replace(PythonText.strip(text), " [title]", by: ". ")
      return PythonText.replace(PythonText.removingBrackets(dotted), "  ", by: " ")
    }
    let context = try row.text("ctx_a") + " " + PythonText.capitalize(try row.text("ctx_b"))
    let endings = try row.texts("endings")
    return .answers(
      question: cleaned(try row.text("activity_label") + ": " + context),
      answers: endings.map(cleaned), gold: try row.label("label", count: endings.count))
  }

  private static func yesNo(_ row: TaskRow) throws(TaskError) -> TaskItem.Form {
    .answers(
      question: try row.text("passage") + "\nQuestion: " + (try row.text("question"))
        + "?\nAnswer:",
      answers: ["no", "yes"], gold: try row.label("label", "answer", count: 2))
  }

  /// AI2's files, `question` with `stem` and lettered `choices`; Hugging Face's, with the letters in
  /// an array beside the texts; and texts with the number of the answer.
  private static func science(
    _ row: TaskRow, prefix: String, suffix: String
  ) throws(TaskError) -> TaskItem.Form {
    let nested = row.json["question"]?.members != nil ? row.json["question"] : nil
    let inner = TaskRow(json: nested ?? row.json, path: row.path, line: row.line)
    let stem =
      nested != nil
      ? try inner.text("stem") : try row.text("question_stem", "question")
    guard let choices = inner.json["choices"] else { throw row.error("'choices' is missing") }
    let answers = try answers(choices, row)
    return .answers(
      question: prefix + stem + suffix, answers: answers.texts,
      gold: try gold(row, answers.labels, count: answers.texts.count))
  }

  private static func answers(
    _ choices: JSON, _ row: TaskRow
  ) throws(TaskError) -> (texts: [String], labels: [String]) {
    if let texts = choices["text"]?.elements {
      let labels = (choices["label"]?.elements ?? []).compactMap(\.text)
      return (try TaskRow.texts(texts, row, "choices.text"), labels)
    }
    let elements = choices.elements ?? []
    if elements.contains(where: { $0.members != nil }) {
      let texts = elements.compactMap { $0["text"] }
      let labels = elements.compactMap { $0["label"]?.text }
      guard texts.count == elements.count, labels.count == elements.count else {
        throw row.error("a choice has no 'text' or no 'label'")
      }
      return (try TaskRow.texts(texts, row, "choices"), labels)
    }
    return (try TaskRow.texts(elements, row, "choices"), [])
  }

  private static func gold(
    _ row: TaskRow, _ labels: [String], count: Int
  ) throws(TaskError) -> Int {
    guard row.has("answerKey") else { return try row.label("answer", "label", count: count) }
    let key = try row.text("answerKey")
    let letters = PythonText.strip(key)
    guard labels.count == count, let gold = labels.firstIndex(of: letters) else {
      throw row.error("'answerKey' is '\(key)', which is no label of a choice")
    }
    return gold
  }

  /// Plain multiple choice: a text, its possible continuations, and the number of the right one.
  static func plain(_ row: TaskRow) throws(TaskError) -> TaskItem.Form {
    let answers = try row.texts("choices")
    return .answers(
      question: try row.text("question", "context", "query"), answers: answers,
      gold: try row.label("answer", "label", "gold", count: answers.count))
  }
}
