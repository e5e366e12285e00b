"""Train a classifier of handwritten digits over a grid of hyperparameters, and report on the best one.

    flowbridge run examples/training.py
    flowbridge run examples/training.py --learning-rates '[0.05, 0.2]' --depths '[2, 3]'
    flowbridge run examples/training.py --backend metaflow
    flowbridge run examples/training.py --backend kubeflow

The data ships with scikit-learn: 1,797 pictures of 8 x 8 pixels. The whole file is plain Python: each step can be called in a unit
test as the function it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import ConfusionMatrixDisplay, classification_report, confusion_matrix
from sklearn.model_selection import train_test_split

from flowbridge import each, flow, grid, log_figure, log_metric, log_param, log_table, step, when

Array = NDArray[Any]


class Digits(NamedTuple):
    """Pictures, one flattened to a row, and the digit that each shows."""

    pixels: Array
    labels: Array


class Split(NamedTuple):
    """What to learn from, and what to test on."""

    train: Digits
    test: Digits


class Trained(NamedTuple):
    """A model and how many of the held-back pictures it gets right."""

    model: HistGradientBoostingClassifier
    accuracy: float
    learning_rate: float
    depth: int


@step(memory="1Gi")
def load() -> Digits:
    """Read the pictures that scikit-learn ships."""
    data = load_digits()
    return Digits(data.data.astype("float32"), data.target)


@step(memory="1Gi")
def split(pixels: Array, labels: Array, test_share: float, seed: int) -> Split:
    """Hold back a share of the pictures, the same share of each digit."""
    x_train, x_test, y_train, y_test = train_test_split(pixels, labels, test_size=test_share, random_state=seed, stratify=labels)
    return Split(Digits(x_train, y_train), Digits(x_test, y_test))


@step(cpu=1, memory="1Gi", retries=1)
def train(train: Digits, test: Digits, point: dict[str, Any], seed: int) -> Trained:
    """Fit one model and count what it gets right."""
    model = HistGradientBoostingClassifier(
        learning_rate=point["learning_rate"],
        max_depth=point["depth"],
        max_iter=15,
        early_stopping=False,
        random_state=seed,
    )
    model.fit(train.pixels, train.labels)
    accuracy = float(model.score(test.pixels, test.labels))
    log_param("learning_rate", point["learning_rate"])
    log_param("depth", point["depth"])
    log_metric("accuracy", accuracy)
    print(f"learning rate {point['learning_rate']}, depth {point['depth']}: {accuracy:.4f}")
    return Trained(model, accuracy, point["learning_rate"], point["depth"])


@step
def select(models: list[Trained]) -> Trained:
    """Choose the most accurate model; of equals the first."""
    best = max(models, key=lambda trained: trained.accuracy)
    log_metric("accuracy", best.accuracy)
    log_param("learning_rate", best.learning_rate)
    log_param("depth", best.depth)
    return best


@step(memory="1Gi")
def report(model: HistGradientBoostingClassifier, test: Digits) -> dict[str, float]:
    """Draw which digits are taken for which, and tabulate precision and recall by digit."""
    guesses = model.predict(test.pixels)
    shown = ConfusionMatrixDisplay(confusion_matrix(test.labels, guesses)).plot(colorbar=False)
    log_figure("confusion", shown.figure_)
    table = classification_report(test.labels, guesses, output_dict=True)
    rows = [{"digit": digit, **{k: round(v, 4) for k, v in table[digit].items()}} for digit in sorted(table) if digit.isdigit()]
    log_table("by digit", rows)
    log_metric("f1", table["macro avg"]["f1-score"])
    print(f"{sum(guesses == test.labels)} of {len(guesses)} pictures right")
    return {"accuracy": table["accuracy"], "f1": table["macro avg"]["f1-score"]}


@step
def points_of(learning_rates: list[float], depths: list[int]) -> list[dict[str, Any]]:
    """Every combination of the hyperparameters."""
    return grid(learning_rate=learning_rates, depth=depths)


@flow
def training(
    learning_rates: list[float] = [0.1, 0.3],
    depths: list[int] = [2, 4],
    test_share: float = 0.25,
    good_enough: float = 0.9,
    seed: int = 7,
) -> dict[str, float]:
    """Digits: load, split, train over a grid, select, report when it is good enough."""
    digits = load()
    data = split(digits.pixels, digits.labels, test_share, seed)
    models = train.map(data.train, data.test, each(points_of(learning_rates, depths)), seed=seed)
    best = select(models)
    with when(best.accuracy > good_enough):
        found = report(best.model, data.test)
    return found


if __name__ == "__main__":
    run = training.run()
    print(run.result())
    print(f"flowbridge show {run.id}")
