#!/usr/bin/env python3
"""How well, and how cheaply, HNSW finds the neurons of the greatest w · x + b.

usage: nearest_rows.py MODEL_DIR STREAMS.safetensors [--layers 1 5 10] [--shares 0.05 0.15] [--queries 200]
                       [--json FILE]
       nearest_rows.py --synthetic 12288 49152 [--shares 0.05] [--queries 20] [--rank 1000] [--index FILE]
                       [--json FILE]

MODEL_DIR is an OPT checkpoint in one safetensors file. The streams come from the engine:

    dejavu eval --model MODEL_DIR --perplexity TEXT --streams STREAMS.safetensors --windows 4 --length 512

A neuron is the vector (w, b), a query (norm(y), 1), so that their inner product decides whether the
neuron fires. hnswlib builds its graph over the neurons, once with the inner product as it is (ip), once
after the reduction to Euclidean distance that makes the product a metric (l2: one more coordinate
evens out the norms). The graph is then walked once more, here, to count what hnswlib does not tell:
distances computed, each of which reads a row of W1. Times are of one thread and one query at a time,
against numpy's product with the whole of W1 in float32. Needs numpy and hnswlib:

    python3 -m venv venv && venv/bin/pip install numpy hnswlib

With --synthetic rows and queries of that width and number are made instead: points of a space of 512
dimensions turned into the wide one, with a tenth of noise, so that neighbours exist; recall and rows read
are theirs and no model's, the times are what counts. Beside a search stand the product with all of W1
(exact search), the whole MLP (W1, and as much again for W2) and a low-rank predictor of --rank, all of them
numpy's in float32 on one thread. Building that graph takes a quarter of an hour or more: --index FILE keeps it, and
a second run with the same file searches it at once, on a machine that is quiet by then.

--json FILE writes the same figures for 'dejavu report --nearest-rows FILE'.
"""
import argparse, heapq, json, os, sys, time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
import hnswlib
import numpy as np

TYPES = {"F32": np.float32, "F16": np.float16}


def tensor(path, wanted):
    """One tensor of a safetensors file in float32; `wanted` may leave out a prefix."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        names = [name for name in header if name == wanted or name.endswith("." + wanted)]
        if len(names) != 1:
            sys.exit(f"{path} has {len(names)} tensors named '{wanted}', not one")
        entry = header[names[0]]
        if entry["dtype"] not in TYPES:
            sys.exit(f"'{names[0]}' is stored as {entry['dtype']}, not one of {', '.join(TYPES)}")
        start, end = entry["data_offsets"]
        file.seek(8 + length + start)
        values = np.frombuffer(file.read(end - start), TYPES[entry["dtype"]])
    return values.reshape(entry["shape"]).astype(np.float32)


def normalised(x, weight, bias, epsilon=1e-5):
    mean, variance = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * weight + bias


class Graph:
    """hnswlib's graph, read out of its state, walked as its own search does."""

    def __init__(self, index, vectors):
        state = index.__getstate__()[0]
        count, size = state["cur_element_count"], state["size_data_per_element"]
        raw = np.frombuffer(state["data_level0"].tobytes(), np.uint8).reshape(-1, size)[:count]
        self.base = [self.links(row) for row in raw]
        self.labels = raw[:, state["label_offset"]:state["label_offset"] + 8].copy().view(np.uint64)[:, 0]
        self.vectors = vectors[self.labels.astype(np.int64)]
        self.entry, self.top = state["enterpoint_node"], state["max_level"]
        upper, width, at = state["link_lists"].tobytes(), state["size_links_per_element"], 0
        self.upper = {}
        for node, level in enumerate(state["element_levels"]):
            for l in range(1, level + 1):
                self.upper[node, l] = self.links(np.frombuffer(upper[at:at + width], np.uint8))
                at += width

    @staticmethod
    def links(row):
        count = int(row[:2].view(np.uint16)[0])
        return row[4:4 + 4 * count].copy().view(np.uint32).astype(np.int64)

    def search(self, query, ef, distance):
        """Labels of the ef nearest found, and how many distances that took."""
        best, evaluations = self.entry, 1
        nearest = distance(self.vectors[[best]], query)[0]
        for level in range(self.top, 0, -1):
            moved = True
            while moved:
                links = self.upper[best, level]
                evaluations += len(links)
                found = distance(self.vectors[links], query)
                moved = len(links) > 0 and found.min() < nearest
                if moved:
                    best, nearest = links[found.argmin()], found.min()
        seen, queue, kept = {int(best)}, [(nearest, int(best))], [(-nearest, int(best))]
        while queue:
            near, node = heapq.heappop(queue)
            if near > -kept[0][0] and len(kept) == ef:
                break
            links = [int(link) for link in self.base[node] if int(link) not in seen]
            if not links:
                continue
            seen.update(links)
            evaluations += len(links)
            for found, link in zip(distance(self.vectors[links], query), links):
                if len(kept) < ef or found < -kept[0][0]:
                    heapq.heappush(queue, (found, link))
                    heapq.heappush(kept, (-found, link))
                    if len(kept) > ef:
                        heapq.heappop(kept)
        return kept, evaluations


def by_product(vectors, query):
    return 1 - vectors @ query


def by_square(vectors, query):
    return ((vectors - query) ** 2).sum(1)


def recall(found, true):
    return np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, true)])


def milliseconds(run, count):
    run()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return sorted(times)[2] * 1000 / count


def built(space, vectors, construction, threads, path):
    """A graph over the vectors, taken from the file at `path` if there is one, else built and kept there."""
    index = hnswlib.Index(space=space, dim=vectors.shape[1])
    if path and os.path.exists(path):
        index.load_index(path, max_elements=len(vectors))
        if index.element_count != len(vectors):
            sys.exit(f"{path} holds {index.element_count} rows, not {len(vectors)}: name another file")
        return index
    index.init_index(max_elements=len(vectors), M=16, ef_construction=construction, random_seed=1)
    index.add_items(vectors, num_threads=threads)
    if path:
        index.save_index(path + ".part")
        os.replace(path + ".part", path)
    return index


def study(layer, rows, queries, shares, space, construction=400, threads=1, path=None, extra={}):
    if space == "ip":
        vectors, asked, distance = rows, queries, by_product
    else:
        norms = (rows ** 2).sum(1)
        vectors = np.hstack([rows, np.sqrt(norms.max() - norms)[:, None]]).astype(np.float32)
        asked = np.hstack([queries, np.zeros((len(queries), 1))]).astype(np.float32)
        distance = by_square
    index = built(space, vectors, construction, threads, path)
    graph = Graph(index, vectors)
    products = queries @ rows.T
    whole = milliseconds(lambda: [rows @ query for query in queries], len(queries))
    for share in shares:
        count = round(share * len(rows))
        true = np.argpartition(-products, count, 1)[:, :count]
        for factor in (1, 2, 4):
            ef = min(count * factor, len(rows))
            index.set_ef(ef)
            found, _ = index.knn_query(asked, k=count, num_threads=1)
            spent = milliseconds(lambda: index.knn_query(asked, k=count, num_threads=1), len(asked))
            walks = [graph.search(query, ef, distance) for query in asked[:32]]
            walked = [graph.labels[[node for _, node in sorted(kept, reverse=True)[:count]]].astype(np.int64)
                      for kept, _ in walks]
            # The walk must find what the library finds, or its count means nothing.
            agreement = recall(walked, found[:32].astype(np.int64))
            assert agreement > 0.98, f"the walk finds {agreement:.3f} of what hnswlib finds"
            evaluations = np.mean([walk[1] for walk in walks])
            found_share = recall(found, true)
            print(f"{layer:5}  {space:>5}  {count:5}  {ef:5}  {found_share:6.3f}  "
                  f"{evaluations:9.0f}  {100 * evaluations / len(rows):7.1f} %  {spent:8.3f}  {whole:8.3f}")
            yield {"layer": layer, "space": space, "top": count, "ef": ef, "recall": float(found_share),
                   "rows_read_share": float(evaluations / len(rows)), "ms_per_query": spent,
                   "ms_all_rows": whole, **extra}


def synthetic(width, neurons, options):
    """Rows with neighbours, queries among them, and what an MLP and a predictor of that size take."""
    random = np.random.default_rng(1)
    turn = random.standard_normal((512, width), np.float32) / np.sqrt(np.float32(512))

    def points(count):
        near = random.standard_normal((count, 512), np.float32) @ turn
        near += 0.1 * random.standard_normal(near.shape, np.float32)
        return np.ascontiguousarray(near / np.sqrt(np.float32(width)))

    rows, queries = points(neurons), points(options.queries)
    first = random.standard_normal((options.rank, width), np.float32)
    second = random.standard_normal((neurons, options.rank), np.float32)
    predictor = milliseconds(lambda: [second @ (first @ query) for query in queries], len(queries))
    # W2 has W1's size; which of them is read does not matter to a product that is bound by memory.
    mlp = milliseconds(lambda: [np.maximum(rows @ query, 0) @ rows for query in queries], len(queries))
    print(f"{neurons} rows of {width}: MLP {mlp:.2f} ms, predictor of rank {options.rank} {predictor:.2f} ms")
    return study(0, rows, queries, options.shares, "l2", construction=100, threads=os.cpu_count(),
                 path=options.index, extra={"ms_mlp": mlp, "ms_predictor": predictor})


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("streams", nargs="?")
    parser.add_argument("--synthetic", type=int, nargs=2, metavar=("WIDTH", "NEURONS"))
    parser.add_argument("--rank", type=int, default=1000)
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.15])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--index")
    parser.add_argument("--json")
    options = parser.parse_args()
    header = "layer  space    top     ef  recall  distances  rows read  ms/query  ms/all of W1"
    if options.synthetic:
        print(header)
        width, neurons = options.synthetic
        write(options, f"synthetic weights, {width} wide", neurons, width, list(synthetic(width, neurons, options)))
        return
    if not options.streams:
        parser.error("name a model and its streams, or --synthetic WIDTH NEURONS")
    results = []
    weights = os.path.join(options.model, "model.safetensors")
    print(header)
    for layer in options.layers:
        prefix = f"decoder.layers.{layer}."
        rows = np.hstack([tensor(weights, prefix + "fc1.weight"), tensor(weights, prefix + "fc1.bias")[:, None]])
        stream = tensor(options.streams, f"mlp_input.{layer}")
        chosen = np.random.default_rng(1).choice(len(stream), min(options.queries, len(stream)), replace=False)
        inputs = normalised(stream[chosen], tensor(weights, prefix + "final_layer_norm.weight"),
                            tensor(weights, prefix + "final_layer_norm.bias"))
        queries = np.hstack([inputs, np.ones((len(inputs), 1))]).astype(np.float32)
        for space in ("ip", "l2"):
            results += study(layer, np.ascontiguousarray(rows, np.float32), queries, options.shares, space)
    write(options, os.path.basename(os.path.normpath(options.model)), len(rows), rows.shape[1] - 1, results)


def write(options, model, neurons, hidden, results):
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"schema": "dejavu/nearest-rows/1", "model": model, "neurons": neurons, "hidden": hidden,
                       "rows": results}, file)


main()
