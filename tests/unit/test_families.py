"""Is what a family fixes filled in, and nothing that is given changed?"""

from pathlib import Path

import pytest

from simulator.api import load_model
from simulator.config import data_root, replace, resolved
from simulator.workload import Model, decode_step
from simulator.workload.families import FAMILIES

SIZES = {
    "gpt-2": "hidden: 768\nlayers: 12\nheads: 12\nffn: 3072\nvocab: 50257\nmax_context: 1024\n",
    "llama-2-7b": (
        "hidden: 4096\nlayers: 32\nheads: 32\nffn: 11008\nvocab: 32000\nmax_context: 4096\n"
        "kv_heads: 32\ntie_embedding: false\n"
    ),
}


def small(folder: Path, text: str) -> Model:
    """Load a model from a file that holds `text`."""
    file = folder / "small.yaml"
    file.write_text(f"name: small\n{text}")
    return load_model(file)


@pytest.mark.parametrize(("name", "family"), [("gpt-2", "gpt2"), ("llama-2-7b", "llama")])
def test_sizes_and_a_family_are_the_shipped_model(name: str, family: str, tmp_path: Path) -> None:
    """Written in full or not, it is the same model but for what is said of it."""
    ours, full = small(tmp_path, f"family: {family}\n{SIZES[name]}"), load_model(name)
    told = {"name": "small", "summary": ours.summary, "source": ours.source}
    assert replace(full, told) == ours
    assert decode_step(ours, context=8).key == decode_step(full, context=8).key
    assert ours.summary == "not given"
    assert ours.source == (
        f"sizes: not given; the rest is that of {family}: {FAMILIES[family].source}"
    )


def test_what_is_given_stays(tmp_path: Path) -> None:
    """A head of its own size, another activation, untied tables; the file's own words."""
    given = "head_dim: 32\nactivation: relu\ntie_embedding: false\nsummary: mine\nsource: me\n"
    model = small(tmp_path, f"family: gpt2\n{SIZES['gpt-2']}{given}")
    assert (model.head_dim, model.activation, model.tie_embedding) == (32, "relu", False)
    assert (model.summary, model.source, model.ffn_bias) == ("mine", "me", True)


def test_a_head_size_that_is_given_need_not_divide(tmp_path: Path) -> None:
    """As in Gemma: heads x head_dim is not hidden."""
    text = SIZES["gpt-2"].replace("heads: 12", "heads: 7")
    assert small(tmp_path, f"family: gpt2\n{text}head_dim: 64\n").query_width == 448


def test_a_dumped_small_model_is_the_same(tmp_path: Path) -> None:
    """What was filled in is in the record."""
    model = small(tmp_path, f"family: gpt2\n{SIZES['gpt-2']}")
    assert Model.model_validate(resolved(model)) == model


@pytest.mark.parametrize("family", FAMILIES)
def test_shipped_files_of_a_family_have_what_it_fixes(family: str) -> None:
    """And say it themselves: a file that comes with the package is complete."""
    rule = FAMILIES[family]
    checked = 0
    for file in sorted((data_root() / "workloads" / "models").glob("*.yaml")):
        model = load_model(file.stem)
        # BitNet is trained as a llama with tied tables and other norms, and says so.
        if model.family != family:
            continue
        checked += 1
        assert {name: getattr(model, name) for name in rule.fields} == dict(rule.fields)
        assert model.head_dim * model.heads == model.hidden
        assert not rule.equal_heads or model.kv_heads == model.heads
        text = file.read_text()
        assert all(f"\n{name}:" in text for name in (*rule.fields, "kv_heads", "head_dim"))
    assert checked
