#!/usr/bin/env python3
"""Compares `dejavu eval --tasks ... --limit all --json` with lm-evaluation-harness, item by item.

usage: compare_tasks.py MODEL_DIR REPORT.json [FIRST_N_ITEMS]

The harness's own task files make the texts, from the data files that the report names, and its
transformers backend scores them in float32 on the CPU. Prints, for each task, the largest difference
of a choice's summed log-probability, the items whose choice differs, and both accuracies; fails where
a log-probability differs by more than 1e-2 or a choice differs that is not a tie. The report must have been
made with --cache-type float32: keys and values in float16 alone move a choice's sum by several hundredths.
Few-shot examples are drawn by another generator here, so only reports without examples can be compared.
Needs lm_eval 0.4.13, torch and transformers.
"""
import json, os, sys, tempfile

os.environ["HF_DATASETS_OFFLINE"] = "1"
import torch
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml


def config(name):
    """The harness's configuration of a task, with its functions."""
    return load_yaml(TaskManager().task_index[name].yaml_path, resolve_func=True)


def rows(name, path):
    """Our files' rows with the columns of the datasets that the harness loads."""
    labels = {"rte": ["entailment", "not_entailment"],
              "cb": ["entailment", "contradiction", "neutral"]}
    for line in open(path, encoding="utf-8"):
        if not line.strip():
            continue
        row = json.loads(line)
        if name == "rte":
            row = {"sentence1": row["premise"], "sentence2": row["hypothesis"], "label": row["label"]}
        if isinstance(row.get("label"), str) and name in labels:
            row["label"] = labels[name].index(row["label"])
        yield row


def task(name, path):
    made = config(name)
    file = tempfile.NamedTemporaryFile("w", suffix=".jsonl", delete=False, encoding="utf-8")
    with file:
        for row in rows(name, path):
            file.write(json.dumps(row) + "\n")
    split = made.get("test_split") or made["validation_split"]
    made.update(dataset_path="json", dataset_name=None,
                dataset_kwargs={"data_files": {split: file.name}})
    made["training_split"] = made["validation_split"] = made["test_split"] = None
    made["test_split"] = split
    return ConfigurableTask(config=made)


def main():
    folder, report = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))
    limit = int(sys.argv[3]) if len(sys.argv) > 3 else None
    assert report["shots"] == 0, "only reports without examples can be compared"
    assert report["machine"]["cache_type"] == "float32", "make the report with --cache-type float32"
    torch.set_num_threads(2)
    model = HFLM(pretrained=folder, dtype="float32", device="cpu", batch_size=8)
    failed = False
    for ours in report["tasks"]:
        asked = task(ours["task"], ours["file"])
        answers = {answer["index"]: answer for answer in ours["rows"][0]["answers"]}
        asked.build_all_requests(limit=limit, rank=0, world_size=1)
        results = model.loglikelihood(asked.instances, disable_tqdm=True)
        theirs = {}
        for instance, (value, greedy) in zip(asked.instances, results):
            theirs.setdefault(instance.doc_id, {})[instance.idx] = (value, greedy)
        worst, differ, ties, right, theirs_right = 0, 0, 0, 0, 0
        for index, choices in theirs.items():
            answer = answers[index]
            values = [choices[i][0] for i in sorted(choices)]
            assert len(values) == len(answer["log_probabilities"])
            worst = max([worst] + [abs(a - b) for a, b in zip(values, answer["log_probabilities"])])
            if len(values) == 1:
                choice = 0 if choices[0][1] else -1
            else:
                choice = max(range(len(values)), key=lambda i: values[i])
            if choice != answer["choice"]:
                differ += 1
                ordered = sorted(values, reverse=True)
                ties += len(values) > 1 and ordered[0] - ordered[1] < 1e-2
            right += answer["right"]
            theirs_right += choice == answer["gold"]
        failed |= worst > 1e-2 or differ > ties
        print(f"{ours['task']}: {len(theirs)} items, largest difference {worst:.2e} nats, {differ} choices "
              f"differ ({ties} within 1e-2 of a tie); right: {right}, harness {theirs_right}", flush=True)
    sys.exit(failed)


main()
