"""LeNet5 in float by PyTorch and by popshift train, in turns; medians of images per second and of images per second of processor time.

Both sides see the same images, batch, optimizer and threads; neither evaluates. PyTorch's data are float tensors in memory; popshift
converts bytes as it goes. Wall time is of the steps alone, as each side measures it. Processor time of PyTorch is of the loop; that of
popshift is the difference of two runs, the second with one epoch, so that reading the data and starting cancel. PyTorch's threads sleep
while they wait (OMP_WAIT_POLICY): on a machine with other work, spinning costs them more than half of their speed.
"""
import argparse
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--popshift")
    p.add_argument("--recipe")
    p.add_argument("--data", required=True)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--samples", type=int, default=12800)
    p.add_argument("--threads", default="1,2")
    p.add_argument("--torch", type=int, help="only PyTorch's side, with this number of threads; prints JSON")
    p.add_argument("--channels-last", action="store_true")
    return p.parse_args()


def read_idx(path, skip, samples):
    import numpy
    with gzip.open(path) as f:
        return numpy.frombuffer(f.read()[skip:], numpy.uint8)[:samples]


def by_torch(o):
    import numpy
    import torch
    from torch import nn
    torch.set_num_threads(o.torch)
    torch.manual_seed(1)
    pixels = read_idx(os.path.join(o.data, "train-images-idx3-ubyte.gz"), 16, o.samples * 784)
    labels = read_idx(os.path.join(o.data, "train-labels-idx1-ubyte.gz"), 8, o.samples)
    x = torch.from_numpy(pixels.astype(numpy.float32) / 255).view(-1, 1, 28, 28)
    y = torch.from_numpy(labels.astype(numpy.int64))
    net = nn.Sequential(
        nn.Conv2d(1, 20, 5, bias=False), nn.BatchNorm2d(20), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5, bias=False), nn.BatchNorm2d(50), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 500, bias=False), nn.BatchNorm1d(500), nn.ReLU(), nn.Linear(500, 10))
    if o.channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    criterion, batch = nn.CrossEntropyLoss(), 128
    wall, cpu, images = 0.0, 0.0, 0
    for epoch in range(o.epochs + 1):  # the first warms up
        start, used = time.perf_counter(), time.process_time()
        order = torch.randperm(len(x))
        for at in range(0, len(x) - batch + 1, batch):
            index = order[at:at + batch]
            opt.zero_grad(set_to_none=True)
            loss = criterion(net(x[index]), y[index])
            loss.backward()
            opt.step()
            images += batch if epoch else 0
        if epoch:
            wall, cpu = wall + time.perf_counter() - start, cpu + time.process_time() - used
    print(json.dumps({"images": images, "wall": wall, "cpu": cpu, "loss": loss.item(), "version": torch.__version__}))


def torch_side(o, threads):
    command = [sys.executable, __file__, "--torch", str(threads), "--data", o.data, "--epochs", str(o.epochs), "--samples", str(o.samples)]
    env = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    r = json.loads(subprocess.run(command + ["--channels-last"] * o.channels_last, check=True, capture_output=True, env=env).stdout)
    return r["images"] / r["wall"], r["images"] / r["cpu"]


def one_run(o, recipe, threads, epochs, folder):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [o.popshift, "train", "--recipe", recipe, "--data", o.data, "--threads", str(threads), "--json", "-q", "-o", os.path.join(folder, "run"),
               "--set", "data.samples=%d" % o.samples, "--set", "phases.0.epochs=%d" % epochs]
    out = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return out["phases"][0]["images_per_second"], after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def popshift_side(o, recipe, threads, folder):
    rate, cpu = one_run(o, recipe, threads, o.epochs + 1, folder)
    _, start = one_run(o, recipe, threads, 1, folder)
    return rate, o.epochs * (o.samples // 128 * 128) / (cpu - start)


def float_phase(recipe, folder):
    """The recipe without its test files and without phases after the first."""
    kept, phases = [], 0
    for line in open(recipe):
        phases += line.startswith("  - {name:")
        if phases < 2 and not line.startswith("  test:"):
            kept.append(line)
    path = os.path.join(folder, "float.yaml")
    with open(path, "w") as f:
        f.write("".join(kept))
    return path


def compare(o):
    print("LeNet5, float, batch 128, %d images, medians of %d rounds" % (o.samples, o.rounds))
    print("%-8s %26s %26s" % ("", "images/s", "images/s of processor time"))
    print("%-8s %8s %8s %8s %8s %8s %8s" % ("threads", "popshift", "torch", "ratio", "popshift", "torch", "ratio"))
    with tempfile.TemporaryDirectory() as folder:
        recipe = float_phase(o.recipe, folder)
        for threads in [int(t) for t in o.threads.split(",")]:
            ours, theirs = [], []
            for _ in range(o.rounds):
                ours.append(popshift_side(o, recipe, threads, folder))
                theirs.append(torch_side(o, threads))
            cells = []
            for k in range(2):
                a, b = statistics.median(r[k] for r in ours), statistics.median(r[k] for r in theirs)
                cells.append("%8.0f %8.0f %8.2f" % (a, b, a / b))
            print("%-8d %s" % (threads, " ".join(cells)), flush=True)


if __name__ == "__main__":
    options = arguments()
    by_torch(options) if options.torch else compare(options)
