"""Answer the board's label requests: from a person, from a file, or from the command line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.protocol.wire.edge_messages import (
    LabelEntry,
    LabelRefused,
    LabelRequestsAnswer,
    LabelRequestsRequest,
    LabelsAnswer,
    LabelsRequest,
    LabelWanted,
    StatusAnswer,
    StatusRequest,
)
from firmware_tools.link import Link

Label = int | str
Answers = Mapping[int, Label]
MAX_LABEL_CHARS: Final = 200
# Few enough for the smallest message that a board may take.
MAX_LABELS_A_MESSAGE: Final = 8


class AnswersError(EdgeRuntimeError, ValueError):
    """A file of answers that cannot be read, or a label that is none."""


def wanted(link: Link, limit: int | None = None) -> LabelRequestsAnswer:
    """The samples whose labels would help, the most useful first."""
    return link.ask(LabelRequestsRequest(limit), LabelRequestsAnswer)


def classes_of(link: Link) -> list[Label]:
    """The classes that the board knows; none where it does not say."""
    classes = link.ask(StatusRequest(), StatusAnswer).runtime.get("classes")
    known = classes if isinstance(classes, list) else []
    return [each for each in known if isinstance(each, int | str)]


def send_labels(link: Link, entries: Sequence[LabelEntry]) -> tuple[int, list[LabelRefused]]:
    """How many the board learned, and which it did not take."""
    accepted = 0
    refused: list[LabelRefused] = []
    for at in range(0, len(entries), MAX_LABELS_A_MESSAGE):
        part = tuple(entries[at : at + MAX_LABELS_A_MESSAGE])
        answer = link.ask(LabelsRequest(part), LabelsAnswer)
        accepted += answer.accepted
        refused += answer.refused
    return accepted, refused


def parse_label(text: str, classes: Iterable[Label] = ()) -> Label:
    """A label as the board writes it: a number only where its classes are numbers.

    >>> parse_label("7", [0, 1, 2]), parse_label("7", ["six", "seven"]), parse_label("7")
    (7, '7', 7)

    Raises
    ------
    AnswersError
        It is empty, longer than any name that helps, or a word where classes are numbers.
    """
    text = text.strip()
    if not 0 < len(text) <= MAX_LABEL_CHARS or not text.isprintable():
        raise AnswersError(f"label {text[:40]!r}, expected 1 to {MAX_LABEL_CHARS} letters")
    kinds = {type(each) for each in classes}
    is_number = text.removeprefix("-").isdecimal() and len(text) < 19
    if kinds == {int} and not is_number:
        raise AnswersError(f"label {text!r}: the board's classes are numbers")
    return int(text) if is_number and str not in kinds else text


def read_answers(path: Path, classes: Iterable[Label] = ()) -> dict[int, Label]:
    """Answers from a CSV file of ``sample,label``; a first line of words is a heading.

    Raises
    ------
    AnswersError
        A line has no two fields, or its sample is no number; says which line.
    """
    classes = list(classes)
    answers: dict[int, Label] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if not row or (number == 1 and not row[0].strip().isdecimal()):
                    continue
                if len(row) != 2 or not row[0].strip().isdecimal():
                    raise AnswersError(f"{path}:{number}: {row}, expected sample,label")
                answers[int(row[0])] = parse_label(row[1], classes)
    except (UnicodeDecodeError, csv.Error) as error:
        raise AnswersError(f"{path} is no CSV text: {error}") from error
    return answers


def parse_pairs(pairs: Sequence[str], classes: Iterable[Label] = ()) -> dict[int, Label]:
    """Answers from words such as ``17=cat``."""
    answers: dict[int, Label] = {}
    for pair in pairs:
        sample, equals, label = pair.partition("=")
        if not equals or not sample.isdecimal():
            raise AnswersError(f"{pair!r}, expected SAMPLE=LABEL")
        answers[int(sample)] = parse_label(label, classes)
    return answers


def known_answers(requests: Iterable[LabelWanted], answers: Answers) -> list[LabelEntry]:
    """Of what the board asks for, what the answers know."""
    return [
        LabelEntry(each.sample, answers[each.sample]) for each in requests if each.sample in answers
    ]


def question(request: LabelWanted) -> str:
    """One request as the line that a person is asked.

    >>> question(LabelWanted(17, 0.0031, "cat", 2))
    "sample 17 (p 0.0031, slot 2), looks like 'cat'"
    """
    slot = "" if request.slot is None else f", slot {request.slot}"
    guess = "" if request.label is None else f", looks like {str(request.label)[:40]!r}"
    return f"sample {request.sample} (p {request.p_value:.2g}{slot}){guess}"


def ask_person(
    requests: Iterable[LabelWanted], classes: Sequence[Label], prompt: Callable[[str], str]
) -> list[LabelEntry]:
    """What a person answers: nothing skips a sample, ``=`` agrees with the guess, ``q`` ends."""
    entries = []
    for request in requests:
        try:
            label = _ask_one(request, classes, prompt)
        except EOFError:
            break
        if label is not None:
            entries.append(LabelEntry(request.sample, label))
    return entries


def _ask_one(
    request: LabelWanted, classes: Sequence[Label], prompt: Callable[[str], str]
) -> Label | None:
    """The label, or None to skip; `EOFError` ends the questions."""
    trouble = ""
    while True:
        text = prompt(f"{trouble}{question(request)}: ").strip()
        if text == "q" and "q" not in classes:
            raise EOFError
        if not text:
            return None
        if text == "=" and request.label is not None:
            return request.label
        try:
            return parse_label(text, classes)
        except AnswersError as error:
            trouble = f"{error}; "
