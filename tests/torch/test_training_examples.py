"""The training examples: what they learn from is what others may rely on, and a short run says what must hold."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "examples" / "training"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "RANK"}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more would wait for each other on a busy machine
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tasks():
    sys.path.insert(0, str(FOLDER))
    try:
        import tasks
    finally:
        sys.path.remove(str(FOLDER))
    yield tasks
    del sys.modules["tasks"]


@pytest.fixture(params=["digits", "text"])
def task(tasks, request):
    return getattr(tasks, request.param)()


def some(task, worker, seed, count=3):
    return [torch.cat([part.flatten().float() for part in batch]) for batch in first(task, worker, seed, count)]


def first(task, worker, seed, count):
    return list(itertools.islice(task.batches(worker, seed), count))


def squares(parts):
    return torch.stack([(part**2).sum() for part in parts]).sum()


def test_streams_are_repeatable_private_and_differ_between_workers_and_seeds(task):
    before = torch.get_rng_state()
    reference = some(task, 0, 0)
    assert all(map(torch.equal, reference, some(task, 0, 0)))
    for worker, seed in ((1, 0), (0, 1)):
        assert not any(map(torch.equal, reference, some(task, worker, seed)))
    assert not torch.equal(reference[0], reference[1])
    task.model(0)
    assert torch.equal(before, torch.get_rng_state())


def test_model_depends_on_the_seed_alone(task):
    torch.manual_seed(3)
    first, again, other = (task.model(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_loss_is_a_function_of_parameters_and_batch_that_can_be_learnt(task):
    model, (batch,) = task.model(0), first(task, 0, 0, 1)
    start = task.loss(model, batch)
    assert torch.equal(start, task.loss(model, batch))
    classes = 10 if task.name == "digits" else 256
    assert start.item() == pytest.approx(torch.tensor(classes).log().item(), rel=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(10):
        optimizer.zero_grad()
        task.loss(model, batch).backward()
        optimizer.step()
    assert task.loss(model, batch) < start


def test_hessian_vector_products_agree_with_differences_of_gradients(task):
    model, (batch,) = task.model(0).double(), first(task, 0, 0, 1)
    batch = tuple(part.double() if part.is_floating_point() else part for part in batch)
    parameters = list(model.parameters())
    gradient = torch.autograd.grad(task.loss(model, batch), parameters, create_graph=True)
    direction = [part.detach() for part in gradient]
    product = torch.autograd.grad(gradient, parameters, direction, create_graph=True)
    assert all(part.isfinite().all() for part in torch.autograd.grad(squares(product), parameters, retain_graph=True))
    step = 1e-5
    with torch.no_grad():
        for parameter, part in zip(parameters, direction):
            parameter += step * part
    moved = torch.autograd.grad(task.loss(model, batch), parameters)
    difference = torch.cat([((a - b) / step).flatten() for a, b in zip(moved, direction)])
    exact = torch.cat([part.detach().flatten() for part in product])
    assert torch.dist(exact, difference) < 1e-3 * exact.norm()


def test_gradients_of_all_workers_at_once(task):
    model = task.model(0)
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    batches = [first(task, worker, 0, 1)[0] for worker in range(2)]

    def loss(parameters, inputs, targets):
        return task.loss(lambda x: torch.func.functional_call(model, parameters, (x,)), (inputs, targets))

    together = torch.vmap(torch.func.grad(loss), (None, 0, 0))(parameters, *map(torch.stack, zip(*batches)))
    for worker, batch in enumerate(batches):
        alone = torch.autograd.grad(task.loss(model, batch), list(model.parameters()))
        for name, expected in zip(parameters, alone):
            torch.testing.assert_close(together[name][worker], expected, rtol=1e-4, atol=1e-6)


def test_attention_is_torchs_own_and_causal(tasks):
    layer, x = (
        tasks.text().model(0).layers[0],
        torch.randn(2, 9, tasks.WIDTH, generator=torch.Generator().manual_seed(0)),
    )
    query, key, value = (
        part.unflatten(-1, (tasks.HEADS, -1)).transpose(1, 2) for part in layer.attend(x).chunk(3, dim=-1)
    )
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(layer.attention(x), layer.project(expected.transpose(1, 2).flatten(-2)))


def test_evaluation_is_on_data_that_is_not_trained_on(tasks, task):
    found = task.evaluate(task.model(0))
    assert found == task.evaluate(task.model(0)) and set(found) == {"loss", "accuracy"}
    assert 0 <= found["accuracy"] < 0.3 and found["loss"] > 2
    assert not set(tasks.TRAIN_MODULES.split()) & set(tasks.TEST_MODULES.split())


def test_without_torchrun_it_says_how_to_start():
    found = subprocess.run(
        [sys.executable, FOLDER / "digits.py"], env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 1 and not found.stdout
    assert found.stderr == (
        "This trains with several processes; start it with: torchrun --nproc_per_node 4 examples/training/digits.py\n"
    )


@pytest.mark.timeout(120)
def test_a_short_run_records_what_must_hold(tmp_path):
    steps = 12
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", FOLDER / "digits.py"]
    found = subprocess.run(
        [*run, "--steps", str(steps), "--seed", "1", "--out", tmp_path],
        env=ENVIRONMENT | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert found.returncode == 0, found.stderr
    text = (tmp_path / "training_digits.json").read_text()
    record = json.loads(text)
    assert str(tmp_path) not in text and str(FOLDER.parent) not in text
    assert record["command"] == "torchrun --nproc_per_node 2 examples/training/digits.py --steps 12 --seed 1"
    assert record["workers"] == 2 and record["versions"]["torch"] == torch.__version__
    assert (tmp_path / "training_digits.png").stat().st_size > 10_000
    plain, top, local, sparse, normalized = record["methods"]
    for method in record["methods"]:
        curve = method["curve"]
        assert method["name"] in found.stdout and curve["step"] == list(range(steps))
        assert curve["loss"][0] == plain["curve"]["loss"][0]
        assert curve["bytes"] == sorted(curve["bytes"]) and curve["bytes"][-1] == method["bytes_sent"]
    # Two workers: an all-reduce of S bytes sends S, and so do an all-gather and a two-shot exchange; a norm is 8 bytes of each worker.
    assert plain["bytes_sent"] == pytest.approx(4 * record["parameters"] * steps, rel=0.02)
    assert sparse["bytes_sent"] == normalized["bytes_sent"] == pytest.approx(plain["bytes_sent"] / 20, rel=0.03)
    assert top["bytes_sent"] < sparse["bytes_sent"]
    assert local["bytes_sent"] == pytest.approx(record["parameters"] / 4, rel=0.05)  # one round
