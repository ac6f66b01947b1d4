"""The card and the report of a judged candidate, as a person reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pawloop.card import Card
from pawloop.durable import sha256
from pawloop.problem import Problem
from pawloop.registry import Registry
from tasks import describe, gate, licences, recipe, release, retrain_report, runs, slices, weigh
from tasks.cardtext import card_markdown, classes_markdown, confused_markdown
from tasks.manifest import Dataset
from tasks.runs import Cause
from tasks.train import Trained
from tasks.variants import Judged
from tasks.weights import Pretrained
from tests.tasks import albums, small

PRETRAINED = Pretrained("mobilenet_v2", {}, "none", "a test asked for it", "0" * 64)
STORY = {
    "candidates": [
        {
            "name": "frozen",
            "backbone": "mobilenet_v2",
            "image_size": 224,
            "crop_mode": "center",
            "tuning": None,
            "epochs": 0,
            "validation_accuracy": 0.9,
            "validation_log_loss": 0.2,
            "seconds": 1.5,
            "penalties": [{"l2": 0.1, "train_loss": 0.1, "validation_loss": 0.2}],
        }
    ],
    "curve": {"train_loss": []},
    "note": "",
    "seconds": 1.5,
    "machine": "two cores",
}


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    folder = tmp_path_factory.mktemp("colours") / "photos"
    about = small.problem(folder, purpose="Sorts colours.", gate={"minimum_accuracy": 0.5})
    (folder / "LICENSE").write_text("\n  MIT License\n\nCopyright\n")
    return about


@pytest.fixture(scope="module")
def told(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> tuple[Card, Dataset, Judged]:
    candidate, dataset, judged = small.judged(problem, tmp_path_factory.mktemp("described"))
    challenger = gate.Challenger(judged.answers(), judged.evaluation, weigh.weigh(candidate, None))
    cut = slices.slices(dataset.photos("test"))
    verdict = gate.judge(challenger, judged.labels(), [], cut, problem.costs, problem.gate)
    planned = recipe.plan(problem, [PRETRAINED], 0)
    trained = Trained(candidate.folder, planned, planned.nets[0], STORY)
    card = describe.describe(
        problem,
        dataset,
        [PRETRAINED],
        trained,
        Cause("key", runs.terms(problem)),
        candidate,
        {"float32": small.variant()},
        {"float32": judged},
        verdict,
    )
    return card, dataset, judged


def test_the_card_says_all_that_a_model_card_should(
    problem: Problem, told: tuple[Card, Dataset, Judged]
) -> None:
    card, dataset, judged = told
    words = card_markdown(card)
    for heading in ("What it is for", "Limits", "How good it is", "By class", "By kind of photo", "Data"):
        assert f"# {heading}\n" in words
    for said in ("Sorts colours.", "LICENSE: MIT License", "Training took 1.5 s on two cores", dataset.id):
        assert said in words
    for digest in (
        card.code_version,
        card.weights_sha256,
        sha256(judged.path.parents[1] / "candidate/model.onnx"),
    ):
        assert f"`{digest}`" in words
    assert "| low pixels |" in words or "| label = cat |" in words
    assert "| brightness (factor) |" in words
    assert card.metrics["float32"]["slices"][0]["accuracy_interval"]


def test_the_card_says_how_its_network_was_trained(told: tuple[Card, Dataset, Judged]) -> None:
    card = told[0]
    words = card_markdown(card)
    assert "Chosen on validation photos: a linear head on features that were left as they came" in words
    best = card.recipe["training"]["candidates"][0]
    tuned = best | {"tuning": {"rate": 0.001, "smoothing": 0.1}, "epochs": 7}
    training = card.recipe["training"] | {"candidates": [tuned, best]}
    words = card_markdown(card.model_copy(update={"recipe": card.recipe | {"training": training}}))
    assert "a network fine-tuned for 7 epochs (rate 0.001, smoothing 0.1)" in words
    assert words.count(f"| {best['name']} | {best['backbone']} |") == 2


def test_the_limits_promise_nothing_about_other_photos(
    problem: Problem, told: tuple[Card, Dataset, Judged]
) -> None:
    judged = told[2]
    first = next(describe.limits(problem, judged))
    assert "less like the training photos than 99.0% of validation photos" in first
    assert "was not measured" in first
    none = problem.model_copy(update={"cost": problem.cost.model_copy(update={"unfamiliar": 1.0})})
    assert "Whatever else is shown gets one of these names" in next(describe.limits(none, judged))


def test_the_limits_tell_where_the_model_fails(problem: Problem, told: tuple[Card, Dataset, Judged]) -> None:
    judged = told[2]
    assert judged.robustness is not None
    kind = judged.robustness.kinds[0]
    blind = [one.model_copy(update={"accuracy": 0.2 if one.strength > 3 else 0.9}) for one in kind.strengths]
    harmed = judged.robustness.model_copy(update={"kinds": [kind.model_copy(update={"strengths": blind})]})
    slices = [judged.slices[0].model_copy(update={"is_worse": True, "name": "low pixels"})]

    limits = " ".join(describe.limits(problem, replace(judged, slices=slices, robustness=harmed)))

    assert "Suffers from blur: at 4 (radius in pixels of 224) its accuracy was 0.20" in limits
    assert "Less accurate on some kinds of photos than on the whole: low pixels" in limits


def test_the_report_shows_curves_slices_harm_and_what_carried_the_mistakes(
    told: tuple[Card, Dataset, Judged],
) -> None:
    card, dataset, judged = told
    page = retrain_report.retrain_report(card, judged, dataset, {}, ["![x](http://evil.example/x.png)"])
    assert r"> !\[x\](http://evil.example/x.png)" in page
    for heading in (
        "Each class against all others",
        "When photos are harmed",
        "Worst mistakes: what carried the answer",
        "Mistakes in the worst kinds of photos",
    ):
        assert f"## {heading}\n\n![{heading}](data:image/" in page
    assert len(page) < retrain_report.LIMIT_BYTES


def test_what_a_card_quotes_is_no_markdown_of_its_own(told: tuple[Card, Dataset, Judged]) -> None:
    picture = "![x](http://host/x.png)"
    classes = [picture, *told[0].classes[1:]]
    dear = [[5.0 * (true != said) for said in classes] for true in classes]
    card = told[0].model_copy(update={"limits": [picture], "purpose": picture, "mistake_costs": dear})
    words = card_markdown(
        card.model_copy(
            update={"classes": classes, "dataset": card.dataset.model_copy(update={"counts": {}})}
        )
    )
    assert "![x" not in words


def test_a_persons_reason_stays_in_the_card_and_in_its_words(
    told: tuple[Card, Dataset, Judged], tmp_path: Path
) -> None:
    card, _, judged = told
    refused = card.model_copy(
        update={"verdict": card.verdict.model_copy(update={"outcome": "refuse"}), "run": "run-1"}
    )
    folder = tmp_path / "runs" / "run-1" / "candidate"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes((judged.path.parents[1] / "candidate/model.onnx").read_bytes())
    (folder / "card.json").write_text(refused.model_dump_json())

    version = release.promote_by_hand(tmp_path, Registry(tmp_path, "test"), "run-1", "seen by eye")

    assert version.card.verdict.despite == "seen by eye"
    assert "A person overruled it: seen by eye" in (version.folder / "card.md").read_text()


def test_a_card_of_an_older_version_can_still_be_read_and_shown(told: tuple[Card, Dataset, Judged]) -> None:
    value = told[0].model_dump(mode="json")
    del value["purpose"], value["dataset"]["licences"]
    metrics = value["metrics"]["float32"]
    for name in ("slices", "robustness", "coverage", "aurc", "aurc_interval", "brier_interval"):
        del metrics[name]
    metrics["classes"] = {"cat": {"precision": 1.0, "recall": 0.9, "count": 10}}

    words = card_markdown(Card.model_validate(value))

    assert "Tells cat, dog apart." in words
    assert "When photos are harmed" not in words
    assert "| cat | 10 | 1.000 | 0.900 | – | – |" in words


def test_the_card_of_many_classes_stays_a_page(told: tuple[Card, Dataset, Judged]) -> None:
    one = told[0].metrics["float32"]["classes"]["cat"]
    words = classes_markdown({"classes": {f"class {n}": one for n in range(1000)}})
    assert len(words) < 10_000
    assert "940 more are in `card.json`" in words


def test_many_classes_make_no_wide_table_and_no_endless_sentence(
    problem: Problem, told: tuple[Card, Dataset, Judged]
) -> None:
    card, _, judged = told
    names = tuple(f"a kind of pet with the number {n}" for n in range(120))
    many = problem.model_copy(update={"classes": names})
    dataset = card.dataset.model_copy(
        update={"counts": dict.fromkeys(card.dataset.counts, dict.fromkeys(names, 5))}
    )
    matrix = {"confusion": [[int(one == other) for other in names] for one in names]}
    card = card.model_copy(
        update={"purpose": describe._purpose(many), "limits": list(describe.limits(many, judged))}
        | {"classes": names, "dataset": dataset, "metrics": {"float32": card.metrics["float32"] | matrix}}
        | {"mistake_costs": tuple((1.0,) * len(names) for _ in names)}
    )
    words = card_markdown(card)
    assert "number 11 and 108 more" in words
    assert "| a kind of pet with the number 0 | 5 | 5 | 5 |" in words
    assert max(map(len, words.splitlines())) < 1000


def test_the_classes_that_are_confused_are_named() -> None:
    counts = {"confusion": [[8, 2, 0], [0, 9, 0], [5, 0, 15]]}
    words = confused_markdown(counts, ("cat", "dog", "hen"))
    rows = [line for line in words.splitlines() if "%" in line]
    assert rows == ["| hen | cat | 5 | 25% |", "| cat | dog | 2 | 20% |"]
    assert confused_markdown({"confusion": [[8, 2], [0, 9]]}, ("cat", "dog")) == ""


def test_a_licence_is_what_the_problem_states_else_what_the_source_tells(tmp_path: Path) -> None:
    (tmp_path / "with").mkdir()
    (tmp_path / "with" / "README.md").write_text("# Photos of pets\n")
    sources = [
        "sample://pets",
        "oxford-iiit-pet",
        str(tmp_path / "with"),
        str(tmp_path),
        "https://host/a.zip",
    ]
    found = list(licences.licences(sources, None).values())
    assert found[0].startswith("Apache-2.0")
    assert found[1].startswith("CC BY-SA 4.0")
    assert found[2:] == ["README.md: Photos of pets", licences.NOT_STATED, licences.NOT_STATED]
    assert set(licences.licences(sources, "CC0").values()) == {"CC0"}


def test_a_licence_is_no_photo_and_no_class(tmp_path: Path) -> None:
    folder = albums.album(tmp_path / "photos", each=8)
    before = albums.made(albums.problem(folder), tmp_path / "one").id
    (folder / "LICENSE").write_text("MIT")
    assert albums.made(albums.problem(folder), tmp_path / "two").id == before


def test_test_photos_that_the_weights_may_know_are_told(tmp_path: Path) -> None:
    folder = albums.album(tmp_path / "photos", each=20)
    few, many = (albums.made(albums.problem(folder, test=share), tmp_path / "store") for share in (0.1, 0.5))
    known = len(many.photos("test")) - len(few.photos("test"))
    [told] = describe._learnt(many, replace(PRETRAINED, source="champion"))
    assert f"{known} of the test photos" in told
    assert not list(describe._learnt(many, PRETRAINED))
    assert not list(describe._learnt(few, replace(PRETRAINED, source="champion")))
    few.manifest.unlink()
    [told] = describe._learnt(many, replace(PRETRAINED, source="champion"))
    assert few.id in told
