/// A published task whose prompts and scores are lm-evaluation-harness's.
package enum TaskName: String, CaseIterable, Hashable, Sendable {
  case cb, copa
  case lambada = "lambada_openai"
  case openbookqa, piqa, rte, winogrande, hellaswag
  case arcEasy = "arc_easy"
  case arcChallenge = "arc_challenge"
  case boolq

  /// The version of lm-evaluation-harness whose task files were followed.
  package static let harness = "0.4.13"

  /// The task of this name; `lambada` is short for `lambada_openai`.
  package init?(named name: String) {
    guard let task = TaskName(rawValue: name == "lambada" ? "lambada_openai" : name) else {
      return nil
    }
    self = task
  }

  /// Whether the harness reports accuracy by log-probability per character of an answer, too.
  package var isNormalized: Bool {
    switch self {
    case .openbookqa, .piqa, .hellaswag, .arcEasy, .arcChallenge: true
    case .cb, .copa, .lambada, .rte, .winogrande, .boolq: false
    }
  }

  /// Whether the harness reports the mean F1 of the answers, too.
  package var hasF1: Bool { self == .cb }

  /// Files that may hold the items below a data folder, best first: this project's name, then those
  /// under which the authors publish them.
  package var files: [String] {
    let own = [rawValue + ".jsonl"]
    switch self {
    case .cb: return own + ["cb/val.jsonl", "CB/val.jsonl"]
    case .copa: return own + ["copa/val.jsonl", "COPA/val.jsonl"]
    case .lambada:
      return own + ["lambada.jsonl", "lambada_test.jsonl", "lambada_openai/lambada_test.jsonl"]
    case .openbookqa:
      return own + ["openbookqa/test.jsonl", "OpenBookQA-V1-Sep2018/Data/Main/test.jsonl"]
    case .piqa: return own + ["piqa/valid.jsonl"]
    case .rte: return own + ["rte/val.jsonl", "RTE/val.jsonl", "rte/dev.tsv", "RTE/dev.tsv"]
    case .winogrande: return own + ["winogrande/dev.jsonl", "winogrande_1.1/dev.jsonl"]
    case .hellaswag: return own + ["hellaswag_val.jsonl", "hellaswag/hellaswag_val.jsonl"]
    case .arcEasy:
      return own + ["ARC-Easy-Test.jsonl", "ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-Test.jsonl"]
    case .arcChallenge:
      return own + [
        "ARC-Challenge-Test.jsonl", "ARC-V1-Feb2018-2/ARC-Challenge/ARC-Challenge-Test.jsonl",
      ]
    case .boolq: return own + ["boolq/val.jsonl", "BoolQ/val.jsonl"]
    }
  }

  /// The same of items that few-shot examples come from; LAMBADA publishes none.
  package var trainingFiles: [String] {
    let own = [rawValue + "-train.jsonl"]
    switch self {
    case .cb: return own + ["cb/train.jsonl", "CB/train.jsonl"]
    case .copa: return own + ["copa/train.jsonl", "COPA/train.jsonl"]
    case .lambada: return own + ["lambada-train.jsonl"]
    case .openbookqa:
      return own + ["openbookqa/train.jsonl", "OpenBookQA-V1-Sep2018/Data/Main/train.jsonl"]
    case .piqa: return own + ["piqa/train.jsonl"]
    case .rte:
      return own + ["rte/train.jsonl", "RTE/train.jsonl", "rte/train.tsv", "RTE/train.tsv"]
    case .winogrande:
      return own + ["winogrande/train_xl.jsonl", "winogrande_1.1/train_xl.jsonl"]
    case .hellaswag: return own + ["hellaswag_train.jsonl", "hellaswag/hellaswag_train.jsonl"]
    case .arcEasy:
      return own + ["ARC-Easy-Train.jsonl", "ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-Train.jsonl"]
    case .arcChallenge:
      return own + [
        "ARC-Challenge-Train.jsonl",
        "ARC-V1-Feb2018-2/ARC-Challenge/ARC-Challenge-Train.jsonl",
      ]
    case .boolq: return own + ["boolq/train.jsonl", "BoolQ/train.jsonl"]
    }
  }
}
