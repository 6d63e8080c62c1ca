"""Makes the fixtures beside this file with Hugging Face's `tokenizers`, the reference.

Run with `tokenizers` installed:  python make_fixtures.py
The committed files were made with tokenizers 0.23.3 on Python 3.11; `scalar_kinds.json` shows the
Unicode version of the regular expressions in that wheel.
"""

import json
import pathlib
import random
import textwrap
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
OPT = HERE.parents[2] / "Models" / "opt-16m" / "tokenizer.json"

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
PATTERNS = {"gpt2": GPT2, "llama3": LLAMA3, "cl100k": CL100K, "qwen2": QWEN2}

TEXTS = [
    "",
    " ",
    "Hello, world! The quick brown fox jumps over the lazy dog.",
    "It's what we've said: they'll, I'm, you'd, DON'T, SHE'LL, 'tis, 's, 'sample, x'\u017fy, ''s",
    "In 1984, 12345678 people paid $3.14159 (or 1,000,000.00) on 2024-02-29 at 23:59:59.",
    "Der Fluß fließt über große Bögen; Äpfel, Öl und Übermut.",
    "Le garçon naïf a mangé un œuf à Noël — « déjà vu », dit-il.",
    "El niño comió piñas. ¿Qué pasó? ¡Nada!",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.",
    "日本語の文章です。東京都は大きい。カタカナとひらがな。",
    "我能吞下玻璃而不伤身体。今天是二〇二四年。",
    "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.",
    "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر ٠١٢٣٤٥٦٧٨٩",
    "דג סקרן שט בים מאוכזב ולפתע מצא חברה",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश १२३",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า ๑๒๓",
    "Tiếng Việt có dấu: được, những, người, e\u0302\u0301, ệ, A\u030a, \u212b, \u2126, \ufb01",
    "👩‍👩‍👧‍👦 family, flags 🇨🇭🇯🇵, skin 👍🏽, keycap 1️⃣, text ☺︎ and ♥️",
    "tabs\t\tand\nnew\r\nlines\r\r\n \n\n  \n   indented  \t  \n",
    "    def f(x):\n        return x ** 2  # comment\n\n\nif __name__ == '__main__':\n    f(3)\n",
    "a\u00a0b\u3000c\u2003d\u2028e\u2029f\u0085g\u000bh\u000ci\u1680j\u202fk\u205fl\u200bm\ufeffn",
    "\u001c\u001d\u001e\u001f\u0000\u0001\u007f\u0080\u009f",
    "½ Ⅷ ² ٣ ௧௨௩ 𝟘𝟙𝟚 ㊿ 1²3 x²",
    "!!!???...---___~~~ #hashtag @user http://example.com/?q=a&b=c <tag attr='v'/> {\"k\": [1]}",
    "e" + "\u0301" * 40 + " Z\u0351\u036b\u0343a\u0329l\u0348g\u0330o",
    "\ufeffbyte order mark first",
    "trailing spaces   ",
    "   leading",
    "x  y   z    w",
    "Ġ Ċ Ā looks like the alphabet",
]


def random_text(rng):
    """A text of scalars that matter to the patterns, and of any script."""
    salient = list(" '\n\r\tsStTrReEvVmMlLdD019!-.\u017f\u212a\u00a0\u3000\u2028\u0085\u0301\u200d")
    length = rng.randint(1, 40)
    scalars = []
    while len(scalars) < length:
        if rng.random() < 0.7:
            scalars.append(rng.choice(salient))
            continue
        scalar = chr(rng.choice([rng.randrange(0x250), rng.randrange(0x3100), rng.randrange(0x20000)]))
        # Assigned scalars only: versions of Unicode differ in the others.
        if unicodedata.category(scalar) not in ("Cn", "Cs", "Co"):
            scalars.append(scalar)
    return "".join(scalars)


def texts(seed, count):
    rng = random.Random(seed)
    return TEXTS + [random_text(rng) for _ in range(count)]


def write(name, value):
    with open(HERE / name, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, separators=(",", ":"))


def write_tokenizer(name, tokenizer, change=None):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    content = json.loads(tokenizer.to_str())
    if change:
        change(content)
    with open(folder / "tokenizer.json", "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, separators=(",", ":"))


def train(pattern, normalizer=None):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1100, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 4 + texts(7, 300), trainer)
    return tokenizer


def llama3_like():
    tokenizer = train(LLAMA3)
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    begin = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", begin)]
            ),
        ]
    )

    def change(content):
        content["model"]["ignore_merges"] = True
        # The older spelling of merges.
        content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]

    write_tokenizer("llama3-like", tokenizer, change)


def qwen2_like():
    tokenizer = train(QWEN2, normalizers.NFC())
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens(
        [
            AddedToken("<word>", single_word=True, normalized=False),
            AddedToken("<left>", lstrip=True, normalized=False),
            AddedToken("<right>", rstrip=True, normalized=False),
            AddedToken("<both>", lstrip=True, rstrip=True, normalized=False),
            AddedToken("e\u0301t\u00e9", normalized=True),
            AddedToken("raw e\u0301", normalized=False),
            AddedToken("<|im", normalized=False),
        ]
    )
    write_tokenizer("qwen2-like", tokenizer)


ADDED_TOKEN_TEXTS = [
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "a<|im_startx|im_start|><|im_end|><|endoftext|>",
    "a <word> b, c<word>, <word>d, (<word>) é<word> <word>e\u0301 _<word> \u0301<word> <word>",
    "a  <left>  b\n<left><left> \t<left>c",
    "a  <right>  b\n<right><right> \t <right>\u3000c <right>",
    "  <both>  <both> x <both>\u00a0\u2003y  <left> <right>  <left>  <right><word>",
    "\u00e9t\u00e9 e\u0301te\u0301 \u00e9te\u0301 raw \u00e9 raw e\u0301 e\u0301",
    "</s> special <pad> <s><unk> <|begin_of_text|>x<|eot_id|> <|end_of_text|>",
]


def cases(tokenizer, texts):
    rows = []
    for text in texts:
        for parse in (True, False):
            tokenizer.encode_special_tokens = not parse
            ids = tokenizer.encode(text).ids
            # Only the texts that hold special tokens come out differently.
            if not parse and ids == rows[-1]["ids"]:
                continue
            rows.append({"text": text, "parse": parse, "ids": ids})
    tokenizer.encode_special_tokens = False
    return rows


def decodes(tokenizer, seed, count):
    rng = random.Random(seed)
    rows = []
    # The reference takes the Latin-1 letters of an added token for bytes and decodes it to U+FFFD;
    # here an added token decodes to its own text.
    garbled = {i for i, t in tokenizer.get_added_tokens_decoder().items() if not t.content.isascii()}
    for _ in range(count):
        top = rng.choice([8, 260, tokenizer.get_vocab_size()])
        ids = [rng.randrange(top) for _ in range(rng.randint(1, 24))]
        ids = [i for i in ids if i not in garbled]
        rows.append(
            {
                "ids": ids,
                "all": tokenizer.decode(ids, skip_special_tokens=False),
                "skipped": tokenizer.decode(ids, skip_special_tokens=True),
            }
        )
    return rows


def fnv(ids):
    """FNV-1a over the ids as little-endian 32-bit words."""
    state = 0xCBF29CE484222325
    for byte in b"".join(i.to_bytes(4, "little") for i in ids):
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return f"{state:016x}"


HOSTILE = [
    ("", "a", 1_000_000),
    ("", " ", 1_000_000),
    ("", "^", 1_000_000),
    ("", "\n", 300_000),
    ("", " \n", 300_000),
    ("", "\r\n\t ", 200_000),
    ("", "'", 300_000),
    ("", "'s", 300_000),
    ("", "7", 300_000),
    ("", "👩\u200d", 50_000),
    ("e", "\u0301", 50_000),
    ("e", "\u0301\u0323", 100_000),
    ("", "\u0f73", 50_000),
    ("", "가", 100_000),
    ("", "<|im_start|", 50_000),
    ("", "</s", 100_000),
    ("", "the ", 100_000),
]


def hostile(tokenizer):
    rows = []
    for head, unit, count in HOSTILE:
        ids = tokenizer.encode(head + unit * count, add_special_tokens=False).ids
        rows.append({"head": head, "unit": unit, "repeat": count, "count": len(ids), "fnv": fnv(ids)})
    return rows


def words():
    rows = []
    rng = random.Random(11)
    for name, pattern in PATTERNS.items():
        splitter = pre_tokenizers.Split(Regex(pattern), "isolated")
        for text in TEXTS + [random_text(rng) for _ in range(90)]:
            lengths = [len(word.encode()) for word, _ in splitter.pre_tokenize_str(text)]
            rows.append({"pattern": name, "text": text, "lengths": lengths})
    return rows


def scalar_kinds():
    """Runs of scalars by what the regular expressions take them for, unassigned ones included."""
    letters = pre_tokenizers.Split(Regex(r"[^\p{L}]"), "removed")
    numbers = pre_tokenizers.Split(Regex(r"[^\p{N}]"), "removed")
    spaces = pre_tokenizers.Split(Regex(r"\S"), "removed")
    kinds = {}
    for kind, matcher in (("L", letters), ("N", numbers), ("s", spaces)):
        for start in range(0, 0x110000, 0x1000):
            block = "".join(chr(c) for c in range(start, start + 0x1000) if not 0xD800 <= c < 0xE000)
            for piece, _ in matcher.pre_tokenize_str(block):
                for scalar in piece:
                    kinds[ord(scalar)] = kind
    runs = []
    for code in range(0x110000):
        kind = kinds.get(code, "o")
        if not runs or runs[-1][1] != kind:
            runs.append([code, kind])
    return runs


def repairs():
    """Ill-formed UTF-8 and what Python's `errors="replace"` makes of it."""
    rng = random.Random(5)
    salient = [0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1]
    salient += [0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]
    rows = []
    for _ in range(300):
        data = bytes(rng.choice(salient) for _ in range(rng.randint(1, 9)))
        rows.append([data.hex(), data.decode("utf-8", errors="replace")])
    return rows


def compositions():
    """Texts of what composes, decomposes and reorders, with Python's normal form C of each."""
    rng = random.Random(3)
    salient = [chr(c) for c in range(0xC0, 0x110000) if unicodedata.decomposition(chr(c))[:1].isalnum()]
    salient += [chr(c) for c in range(0xAC00, 0xD7A4, 97)]
    salient += list("aeoAO\u03bf\u1100\u1161\u11a8\u1175\u11c2") * 30
    marks = [chr(c) for c in range(0x110000) if unicodedata.combining(chr(c))]
    parts = {d for c in salient for d in unicodedata.normalize("NFD", c)}
    salient += [p for p in sorted(parts)] + list("\U000103bf\U00010061\U0001d15e\U0002f800") * 10
    rows = []
    for _ in range(650):
        text = ""
        for _ in range(rng.randint(1, 8)):
            pool = rng.choice([salient, marks, ["\u0301", "\u0323", "\u0308", "\u0f73", "\u0344"]])
            text += rng.choice(pool)
        rows.append([text, unicodedata.normalize("NFC", text)])
    return rows


def write_decompositions():
    """Writes the Swift table of canonical decompositions, from Python's Unicode data."""
    items, expected = [], None
    for code in range(0x110000):
        mapping = unicodedata.decomposition(chr(code))
        if not mapping or mapping.startswith("<"):
            continue
        item = "+".join(f"{int(part, 16):X}" for part in mapping.split())
        if "+" in item and unicodedata.normalize("NFC", chr(code)) != chr(code):
            item = "!" + item
        if code != expected:
            items.append(f"{code:X}:")
        items.append(item)
        expected = code + 1
    lines = textwrap.wrap(" ".join(items), 95)
    swift = "// Made by Tests/DejaVuTokenizersTests/Fixtures/make_fixtures.py from Unicode "
    swift += unicodedata.unidata_version + ".\n\n"
    swift += "extension CanonicalComposition {\n"
    swift += "  /// Decompositions of consecutive scalars after each `first:`, in hexadecimal.\n"
    swift += "  ///\n"
    swift += "  /// `!` marks a pair that must not be composed again.\n"
    swift += '  static let table = """\n'
    swift += "".join(f"    {line}\n" for line in lines)
    swift += '    """\n}\n'
    path = HERE.parents[2] / "Sources" / "DejaVuTokenizers" / "CanonicalComposition+Table.swift"
    path.write_text(swift, encoding="utf-8")


def main():
    print("tokenizers", tokenizers.__version__)
    llama3_like()
    qwen2_like()
    write("words.json", words())
    write("scalar_kinds.json", scalar_kinds())
    write("repairs.json", repairs())
    write("compositions.json", compositions())
    write_decompositions()
    folders = {"opt-16m": OPT}
    for name in ("llama3-like", "qwen2-like"):
        folders[name] = HERE / name / "tokenizer.json"
    for seed, (name, path) in enumerate(folders.items()):
        tokenizer = Tokenizer.from_file(str(path))
        write(
            f"parity-{name}.json",
            {
                "cases": cases(tokenizer, texts(seed, 120) + ADDED_TOKEN_TEXTS),
                "decodes": decodes(tokenizer, seed, 40),
                "hostile": hostile(tokenizer),
            },
        )


main()
