"""Tensors of PyTorch: the bytes of safetensors, mapped, with no code in them."""

from collections import OrderedDict

import pytest

from flowbridge.artifacts.store import Store

torch = pytest.importorskip("torch")

TENSORS = {
    "float": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "bfloat16": torch.arange(5).to(torch.bfloat16),
    "large": torch.ones(3_000_000),
    "not contiguous": torch.arange(12).reshape(3, 4).t(),
    "a part": torch.arange(100)[10:20],
    "empty": torch.empty(0, 3),
    "one number": torch.tensor(2.5),
    "bool": torch.tensor([True, False]),
    "waiting for gradients": torch.ones(3, requires_grad=True),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors(store, name):
    value = TENSORS[name]
    ref = store.save(value)
    back = Store.open(store.url, trust=False).load(ref)
    assert ref.serializer == "torch"
    assert back.dtype == value.dtype
    assert back.shape == value.shape
    assert torch.equal(back, value)
    assert back.requires_grad == value.requires_grad


def test_a_loaded_tensor_may_be_changed_and_the_store_stays(store):
    ref = store.save(torch.ones(3_000_000))
    store.load(ref).zero_()
    assert store.load(ref).sum() == 3_000_000


def test_what_is_attached_to_a_tensor_stays(store):
    value = torch.ones(3)
    value.split = "rows"
    assert store.load(store.save(value)).split == "rows"
    assert store.load(store.save({"a": value}))["a"].split == "rows"


def test_names_that_are_no_unicode(store):
    assert list(store.load(store.save({"\ud83d\ude00": torch.ones(1)}))) == ["\ud83d\ude00"]


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_state_dicts(store, kind):
    value = kind(a=torch.ones(3), b=torch.zeros(2, 2))
    ref = store.save(value)
    back = Store.open(store.url, trust=False).load(ref)
    assert type(back) is kind
    assert list(back) == ["a", "b"]
    assert torch.equal(back["b"], value["b"])


def test_safetensors_reads_them(store):
    safetensors = pytest.importorskip("safetensors.torch")
    value = {"a": torch.ones(3000), "b": torch.arange(4)}  # too large to stand in the reference itself
    found = safetensors.load(store.get_bytes(store.save(value).digest))
    assert {k: v.tolist() for k, v in found.items()} == {"a": [1] * 3000, "b": [0, 1, 2, 3]}


def test_tensors_that_share_memory_still_do(store):
    base = torch.zeros(6)
    back = store.load(store.save({"all": base, "first": base[:2]}))
    back["first"] += 1
    assert back["all"].tolist() == [1, 1, 0, 0, 0, 0]


def test_modules_keep_their_weights_beside_the_pickle(store):
    model = torch.nn.Sequential(torch.nn.Linear(600, 600), torch.nn.ReLU())
    ref = store.save(model)
    back = store.load(ref)
    x = torch.ones(2, 600)
    assert torch.equal(back(x), model(x))
    assert all(isinstance(p, torch.nn.Parameter) and p.requires_grad for p in back.parameters())
    back(x).sum().backward()
    torch.optim.SGD(back.parameters(), lr=0.1).step()
    assert torch.equal(store.load(ref)(x), model(x))


def test_the_state_of_a_module(store):
    model = torch.nn.Linear(3, 2)
    back = store.load(store.save(model.state_dict()))
    torch.nn.Linear(3, 2).load_state_dict(back)
    assert torch.equal(back["weight"], model.weight)


def test_optimizers(store):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    model_back, optimizer_back = store.load(store.save((model, optimizer)))
    model_back(torch.ones(1, 3)).sum().backward()
    before = model_back.weight.clone()
    optimizer_back.step()
    assert not torch.equal(before, model_back.weight)  # it still holds the parameters of its model


@pytest.mark.parametrize("damage", [{"shape": [99]}, {"data_offsets": [0, 10**9]}, {"data_offsets": [-8, 4]}])
def test_a_header_that_lies(store, damage):
    import json
    import struct

    from flowbridge.artifacts.serializers.tensors import read_tensors

    header = json.dumps({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12], **damage}}).encode()
    with pytest.raises(ValueError, match="no such data"):
        read_tensors(memoryview(bytearray(struct.pack("<Q", len(header)) + header + bytes(12))))
