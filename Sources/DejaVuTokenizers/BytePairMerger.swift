import DejaVuJSON

/// The vocabulary and merge rules of a byte-level byte-pair encoding, as its files spell them.
struct BytePairModel: Sendable {
  /// Token spellings, in the alphabet of ``ByteLevelAlphabet``, with their ids.
  var vocabulary: [ByteString: TokenID]
  /// Pairs of spellings; earlier pairs are merged first.
  var merges: [(ByteString, ByteString)]
  /// Whether a word that is a token as a whole skips the merging.
  var ignoresMerges = false
}

/// Turns words into tokens: starts with one token per byte and merges neighbours by rank.
struct BytePairMerger: Sendable {
  private struct Merge {
    let rank: UInt32
    let result: TokenID
  }

  private let byteTokens: [TokenID]
  /// The rules, keyed by both tokens of a pair.
  ///
  /// A pair that is listed twice has its last rank, as in the reference implementation.
  private let merges: [UInt64: Merge]
  /// Words that are tokens as a whole; empty unless the model skips merging for them.
  private let wholeWords: [ByteString: TokenID]

  /// Looks up the tokens of all rules; no word may become a `special` token as a whole, lest
  /// text steer the model.
  init(
    _ model: BytePairModel, special: Set<TokenID>, file: String
  ) throws(TokenizerError) {
    var byteTokens: [TokenID] = []
    for byte in UInt8.min...UInt8.max {
      guard let id = model.vocabulary[ByteLevelAlphabet.spelling(of: [byte])] else {
        throw .missingByte(file: file, byte: byte)
      }
      byteTokens.append(id)
    }
    self.byteTokens = byteTokens
    merges = try Self.merges(of: model, file: file)
    wholeWords =
      model.ignoresMerges ? model.vocabulary.filter { !special.contains($0.value) } : [:]
  }

  private static func merges(
    of model: BytePairModel, file: String
  ) throws(TokenizerError) -> [UInt64: Merge] {
    var merges: [UInt64: Merge] = [:]
    merges.reserveCapacity(model.merges.count)
    for (rule, (left, right)) in model.merges.enumerated() {
      func id(_ token: ByteString) throws(TokenizerError) -> TokenID {
        guard let id = model.vocabulary[token] else {
          throw .mergeOfUnknownToken(
            file: file, rule: rule, merge: [left.text, right.text], unknown: token.text)
        }
        return id
      }
      merges[pair(try id(left), try id(right))] = Merge(
        rank: UInt32(rule), result: try id(ByteString(left.bytes + right.bytes)))
    }
    return merges
  }

  /// Ids are never negative, so both fit side by side.
  private static func pair(_ left: TokenID, _ right: TokenID) -> UInt64 {
    UInt64(left) << 32 | UInt64(right)
  }

  /// Appends the tokens of `word` to `ids`; the workspace is memory to reuse from word to word.
  ///
  /// - Complexity: O(n log n) for n bytes.
  func encode(
    _ word: ArraySlice<UInt8>, to ids: inout [TokenID], using workspace: inout Workspace
  ) {
    if !wholeWords.isEmpty, let id = wholeWords[ByteLevelAlphabet.spelling(of: word)] {
      return ids.append(id)
    }
    workspace.start(with: word.map { byteTokens[Int($0)] })
    for place in 0..<max(word.count - 1, 0) { propose(place, in: &workspace) }
    while let entry = workspace.heap.popFirst() {
      // An entry is out of date when one of its tokens has been merged with another since.
      guard let (right, merge) = merge(at: entry.place, in: workspace), merge.rank == entry.rank
      else { continue }
      let left = workspace.join(entry.place, with: right, as: merge.result)
      if left >= 0 { propose(left, in: &workspace) }
      propose(entry.place, in: &workspace)
    }
    workspace.appendTokens(to: &ids)
  }

  private func propose(_ place: Int, in workspace: inout Workspace) {
    guard let (_, merge) = merge(at: place, in: workspace) else { return }
    workspace.heap.insert(MergeHeap.Entry(rank: merge.rank, place: place))
  }

  /// The rule for the token at `place` and its right neighbour.
  private func merge(at place: Int, in workspace: Workspace) -> (right: Int, merge: Merge)? {
    let right = workspace.next[place]
    guard workspace.tokens[place] >= 0, right < workspace.tokens.count,
      let merge = merges[Self.pair(workspace.tokens[place], workspace.tokens[right])]
    else { return nil }
    return (right, merge)
  }

  /// The tokens of one word as a linked list, and the merges that wait.
  struct Workspace {
    fileprivate var tokens: [TokenID] = []
    fileprivate var next: [Int] = []
    fileprivate var previous: [Int] = []
    fileprivate var heap = MergeHeap()

    fileprivate mutating func start(with word: [TokenID]) {
      tokens = word
      next.removeAll(keepingCapacity: true)
      previous.removeAll(keepingCapacity: true)
      heap.removeAll()
      for place in word.indices {
        next.append(place + 1)
        previous.append(place - 1)
      }
    }

    /// Puts `token` in place of two neighbours and returns the place to their left, or -1.
    fileprivate mutating func join(_ place: Int, with right: Int, as token: TokenID) -> Int {
      tokens[place] = token
      tokens[right] = -1
      next[place] = next[right]
      if next[right] < tokens.count { previous[next[right]] = place }
      return previous[place]
    }

    fileprivate func appendTokens(to ids: inout [TokenID]) {
      ids.append(contentsOf: tokens.lazy.filter { $0 >= 0 })
    }
  }
}
