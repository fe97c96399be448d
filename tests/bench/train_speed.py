"""LeNet5 and ResNet-20 with quantizers of two bits: popshift train beside PyTorch, eager and compiled, in turns; medians of images per
second and of the rounds' ratios, of wall time and of processor time.

Both sides compute the same: pre-activation ResNet-20, UniQ's quantizers with learned steps (first and last layer of 8 bits), batch
normalization, cross-entropy, SGD with momentum, in binary32, on the same number of threads and images of the same size. The pixels are
random: time does not depend on them. PyTorch's data lie in memory as floats, popshift converts bytes and augments as it goes. PyTorch
normalizes a batch whole, so popshift gets one shard per thread. Wall time is of the steps, as each side measures it, after a first
epoch (PyTorch: compiling, warming up). PyTorch's threads sleep while they wait (OMP_WAIT_POLICY).
"""
import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

SIZE = {"lenet5": (1, 28), "resnet20": (3, 32)}
RECIPE = """popshift: recipe/1
net: {builtin: %s, classes: 10}
data:
  train: [%s]
  scale: 0.00392156862745098
batch: %d
shards: %d
quant:
  - {match: first|last, weight: uniq/8, act: uniq/8}
  - {match: "*", weight: uniq/2, act: uniq/2}
phases:
  - {name: steps, quant: %s, lr: constant(0.01), momentum: 0.9, weight_decay: 1e-4, epochs: %d, calibrate: 1}
"""


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--popshift")
    p.add_argument("--nets", default="lenet5,resnet20")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--steps", type=int, default=0, help="timed steps of a run (default: 100 of lenet5, 20 of resnet20)")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--shards", type=int, default=0, help="popshift's shards of a batch (default: one a thread)")
    p.add_argument("--threads", default="1,2")
    p.add_argument("--float", action="store_true", help="without quantizers")
    p.add_argument("--channels-last", action="store_true", help="PyTorch's tensors so")
    p.add_argument("--no-compile", action="store_true")
    p.add_argument("--torch", help=argparse.SUPPRESS)  # one side alone: eager or compile; prints JSON
    return p.parse_args()


def steps_of(o, net):
    return o.steps or (100 if net == "lenet5" else 20)


# PyTorch's side


def modules(o):
    import torch
    from torch import nn
    import torch.nn.functional as F

    class Quantizer(nn.Module):
        """Straight through: dx = dy within the bounds, dstep = sum dy*(q - zp - (within ? x/step : 0)) / sqrt(n * top)."""

        def __init__(self, bits, kind, count, step):
            super().__init__()
            self.step = nn.Parameter(torch.tensor(step))
            self.low, self.high, self.zp = {"up": (0, 2**bits - 1, 0.0), "signed": (-2**(bits - 1), 2**(bits - 1) - 1, 0.0),
                                            "symmetric": (0, 2**bits - 1, (2**bits - 1) / 2)}[kind]
            self.gain = (count * max(1, 2**(bits - (kind != "up")) - 1)) ** -0.5

        def forward(self, x):
            step = self.step * self.gain + (self.step - self.step * self.gain).detach()
            u = torch.clamp(x / step + self.zp, self.low, self.high)
            q = u + (torch.round(u) - u).detach()
            return (q - self.zp) * step

    class Layer(nn.Module):
        def __init__(self, inner, bits, pixels, kind="up"):
            super().__init__()
            self.inner, w = inner, inner.weight
            self.act = nn.Identity() if o.float else Quantizer(bits, kind, o.batch * w.shape[1] * pixels, 0.5 if bits < 8 else 0.02)
            self.weight = nn.Identity() if o.float else Quantizer(bits, "symmetric", w.numel(), 0.1 if bits < 8 else 0.01)

        def forward(self, x):
            w, x = self.weight(self.inner.weight), self.act(x)
            if isinstance(self.inner, nn.Linear):
                return F.linear(x, w, self.inner.bias)
            return F.conv2d(x, w, None, self.inner.stride, self.inner.padding)

    def conv(i, c, k, stride, pad, size, bits=2, kind="up"):
        return Layer(nn.Conv2d(i, c, k, stride, pad, bias=False), bits, size * size, kind)

    class Block(nn.Module):
        def __init__(self, i, c, stride, size):
            super().__init__()
            self.bn1, self.bn2 = nn.BatchNorm2d(i), nn.BatchNorm2d(c)
            self.conv1, self.conv2 = conv(i, c, 3, stride, 1, size), conv(c, c, 3, 1, 1, size // stride)
            self.skip = conv(i, c, 1, stride, 0, size) if i != c else None

        def forward(self, x):
            h = F.relu(self.bn1(x))
            return self.conv2(F.relu(self.bn2(self.conv1(h)))) + (self.skip(h) if self.skip else x)

    def resnet20():
        blocks, i = [conv(3, 16, 3, 1, 1, 32, 8)], 16
        for stage in range(3):
            for k in range(3):
                c, stride = 16 << stage, 2 if stage and not k else 1
                blocks.append(Block(i, c, stride, 32 >> stage << (stride == 2)))
                i = c
        return nn.Sequential(*blocks, nn.BatchNorm2d(64), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten(), Layer(nn.Linear(64, 10), 8, 1))

    def lenet5():
        return nn.Sequential(conv(1, 20, 5, 1, 0, 28, 8), nn.BatchNorm2d(20), nn.ReLU(), nn.MaxPool2d(2), conv(20, 50, 5, 1, 0, 12), nn.BatchNorm2d(50),
                             nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), Layer(nn.Linear(800, 500, bias=False), 2, 1), nn.BatchNorm1d(500), nn.ReLU(),
                             Layer(nn.Linear(500, 10), 8, 1))

    return {"lenet5": lenet5, "resnet20": resnet20}


def by_torch(o):
    import torch
    torch.set_num_threads(int(o.threads))
    torch.manual_seed(1)
    c, size = SIZE[o.nets]
    steps = steps_of(o, o.nets)
    x, y = torch.rand(8 * o.batch, c, size, size), torch.randint(0, 10, (8 * o.batch,))
    net = modules(o)[o.nets]()
    if o.channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    decayed = [p for p in net.parameters() if p.dim()]
    steps_only = [p for p in net.parameters() if not p.dim()]
    opt = torch.optim.SGD([{"params": decayed, "weight_decay": 1e-4}, {"params": steps_only}] if steps_only else decayed, lr=0.01, momentum=0.9)
    criterion = torch.nn.CrossEntropyLoss()

    def loss_of(x, y):
        return criterion(net(x), y)

    forward = torch.compile(loss_of) if o.torch == "compile" else loss_of

    def step(i):
        index = torch.randint(0, len(x), (o.batch,))
        opt.zero_grad(set_to_none=True)
        loss = forward(x[index], y[index])
        loss.backward()
        opt.step()
        return loss

    for i in range(5):
        loss = step(i)
    start, used = time.perf_counter(), time.process_time()
    for i in range(steps):
        loss = step(i)
    wall, cpu = time.perf_counter() - start, time.process_time() - used
    print(json.dumps({"images": steps * o.batch, "wall": wall, "cpu": cpu, "loss": loss.item(), "version": torch.__version__}))


def torch_side(o, how, net, threads):
    """(images/s of wall time, of processor time), or None where this side does not run."""
    command = [sys.executable, __file__, "--torch", how, "--nets", net, "--threads", str(threads), "--batch", str(o.batch), "--steps", str(steps_of(o, net))]
    command += ["--float"] * o.float + ["--channels-last"] * o.channels_last
    env = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    done = subprocess.run(command, capture_output=True, env=env, text=True)
    if done.returncode:
        print("PyTorch, %s, does not run here: %s" % (how, (done.stderr.strip().splitlines() or ["?"])[-1][:200]))
        return None
    r = json.loads(done.stdout.strip().splitlines()[-1])
    return r["images"] / r["wall"], r["images"] / r["cpu"]


# Popshift's side


def write_data(net, images, folder):
    """Random images in a file of the data set's own format; what the recipe names."""
    c, size = SIZE[net]
    draw = random.Random(1)
    pixels, labels = draw.randbytes(images * c * size * size), bytes(draw.randrange(10) for _ in range(images))
    if c == 3:
        with open(os.path.join(folder, "cifar.bin"), "wb") as f:
            for i in range(images):
                f.write(labels[i:i + 1] + pixels[i * 3072:(i + 1) * 3072])
        return "cifar.bin"
    with open(os.path.join(folder, "images"), "wb") as f:
        f.write(b"".join(n.to_bytes(4, "big") for n in (2051, images, size, size)) + pixels)
    with open(os.path.join(folder, "labels"), "wb") as f:
        f.write(b"".join(n.to_bytes(4, "big") for n in (2049, images)) + labels)
    return "images, labels"


def one_run(o, net, threads, epochs, folder, files):
    recipe = os.path.join(folder, "recipe.yaml")
    with open(recipe, "w") as f:
        f.write(RECIPE % (net, files, o.batch, o.shards or threads, "false" if o.float else "true", epochs))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [o.popshift, "train", "--recipe", recipe, "--data", folder, "--threads", str(threads), "--json", "-q", "-o", os.path.join(folder, "run")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit("popshift train failed:\n" + done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.loads(done.stdout)["phases"][0]["images_per_second"], after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def popshift_side(o, net, threads):
    with tempfile.TemporaryDirectory() as folder:
        images = steps_of(o, net) * o.batch // 2
        files = write_data(net, images, folder)
        rate, cpu = one_run(o, net, threads, 3, folder, files)
        _, start = one_run(o, net, threads, 1, folder, files)
        return rate, 2 * (images // o.batch * o.batch) / max(cpu - start, 1e-9)


def median(rounds, k):
    return statistics.median(r[k] for r in rounds)


def compare(o):
    sides = ["popshift", "eager"] + ["compile"] * (not o.no_compile)
    print("%s, batch %d, medians of %d rounds in turns; ratios: medians of the rounds' popshift / PyTorch" % ("float" if o.float else "W2A2", o.batch, o.rounds))
    print("%-9s %7s %-10s %10s %7s %22s %7s" % ("net", "threads", "side", "images/s", "ratio", "of processor time", "ratio"))
    for net in o.nets.split(","):
        for threads in [int(t) for t in o.threads.split(",")]:
            rounds = []
            for _ in range(o.rounds):
                rounds.append({s: popshift_side(o, net, threads) if s == "popshift" else torch_side(o, s, net, threads) for s in sides})
            for s in sides:
                done = [r for r in rounds if r[s]]
                if not done:
                    continue
                cells = []
                for k, width in ((0, 10), (1, 22)):
                    ratio = statistics.median(r["popshift"][k] / r[s][k] for r in done)
                    cells.append("%*.0f %7s" % (width, median([r[s] for r in done], k), "" if s == "popshift" else "%.2f" % ratio))
                print("%-9s %7d %-10s %s" % (net, threads, s, " ".join(cells)), flush=True)


if __name__ == "__main__":
    options = arguments()
    by_torch(options) if options.torch else compare(options)
