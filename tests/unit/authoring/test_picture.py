"""What notebooks and READMEs see of a flow."""

from __future__ import annotations

from flowbridge import flow
from tests.unit.authoring import steps_here as s


@flow
def training(n: int) -> int:
    return s.add(n)


def test_a_picture_of_every_kind():
    picture = training.graph()
    assert picture.graph == training.trace().graph
    assert 'n0["add"]' in picture.mermaid()
    assert str(picture) == picture.mermaid()
    assert picture.svg().startswith("<svg")
    assert picture._repr_html_() == picture.svg()
