#!/usr/bin/env python3
"""Compares window losses of `dejavu eval --json` with Hugging Face transformers' on the same tokens.

usage: compare_perplexity.py MODEL_DIR TEXT_FILE REPORT.json [FIRST_N_WINDOWS]
       compare_perplexity.py MODEL_DIR TEXT_FILE --write OUT.json CONTEXT [STRIDE]

The text is read as `dejavu eval` reads it: lines that hold only <|endoftext|> separate documents,
which are joined by an empty line; the tokenizer adds no tokens of its own, and each window begins
with the beginning-of-text token if the tokenizer adds one. The model runs in float32 on the CPU.
The second form stores transformers' losses, as a fixture of the tests. Needs torch, transformers.
"""
import json, sys
import torch, transformers


def tokens(folder, path):
    lines, documents = open(path, encoding="utf-8", newline="").read().split("\n"), [[]]
    for line in lines:
        if line in ("<|endoftext|>", "<|endoftext|>\r"):
            documents.append([])
        else:
            documents[-1].append(line)
    # The line break before a separator ends no text, but the last document keeps its own.
    text = "\n\n".join(d for d in ("\n".join(lines) for lines in documents) if d)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    prefix = tokenizer("")["input_ids"]
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id in prefix else None
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"], bos


def windows(count, context, stride, bos):
    width = context - (bos is not None)
    stride, start, done, plan = min(stride or width, width), 0, 0, []
    while done < count:
        end = min(start + width, count)
        first = max(done, start + (bos is None))
        if first < end:
            plan.append((start, first, end))
        done, start = end, start + stride
    return plan


def loss(model, ids, bos, start, first, end):
    read = ([bos] if bos is not None else []) + ids[start:end]
    with torch.no_grad():
        logits = model(torch.tensor([read])).logits[0, :-1].float()
    losses = torch.nn.functional.cross_entropy(logits, torch.tensor(read[1:]), reduction="none")
    return losses[-(end - first):].double().mean().item()


def main():
    folder, path, report = sys.argv[1:4]
    torch.set_num_threads(2)
    ids, bos = tokens(folder, path)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    if report == "--write":
        context = int(sys.argv[5])
        stride = int(sys.argv[6]) if len(sys.argv) > 6 else None
        rows = [{"first": first, "tokens": end - first, "nll": loss(model, ids, bos, start, first, end)}
                for start, first, end in windows(len(ids), context, stride, bos)]
        total = sum(row["tokens"] for row in rows)
        result = {"torch": torch.__version__, "transformers": transformers.__version__,
                  "context": context, "stride": stride, "bos": bos, "ids": len(ids),
                  "nll": sum(row["tokens"] * row["nll"] for row in rows) / total, "windows": rows}
        with open(sys.argv[4], "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
        return
    ours = json.load(open(report, encoding="utf-8"))
    assert ours["bos"] == (bos is not None), "one side begins windows with BOS, the other does not"
    plan = {first: (start, first, end)
            for start, first, end in windows(len(ids), ours["context"], ours["stride"], bos)}
    count = int(sys.argv[4]) if len(sys.argv) > 4 else len(ours["window_losses"])
    worst = total = mean_ours = mean_theirs = 0
    for row in ours["window_losses"][:count]:
        start, first, end = plan[row["first"]]
        assert end - first == row["tokens"], f"window at {first}: {row['tokens']} and {end - first} tokens"
        theirs = loss(model, ids, bos, start, first, end)
        worst, total = max(worst, abs(theirs - row["nll"])), total + row["tokens"]
        mean_ours, mean_theirs = mean_ours + row["nll"] * row["tokens"], mean_theirs + theirs * row["tokens"]
    print(f"{ours['model']} {ours['path']} path: {count} windows, {total} tokens; loss {mean_ours / total:.6f}, "
          f"transformers {mean_theirs / total:.6f}; difference {abs(mean_ours - mean_theirs) / total:.2e}, "
          f"worst window {worst:.2e}")
    sys.exit(worst > 1e-3)


main()
