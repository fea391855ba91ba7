"""Summarises the answers of a survey: CSV on stdin, JSON on stdout."""

import csv
import json
import statistics
import sys
from collections import Counter

from wit_world import exports
from wit_world.imports import exit as wasi_exit

# How many different answers are listed.
MOST = 5


class Fault(Exception):
    """What is wrong with the payload."""


def number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def summary(answers: list[str]) -> dict:
    """Numbers are summarised as such if all answers are numbers."""
    given = [answer.strip() for answer in answers if answer.strip()]
    numbers = [number(answer) for answer in given]
    result: dict = {"answered": len(given), "skipped": len(answers) - len(given)}
    if given and None not in numbers:
        quartiles = statistics.quantiles(numbers, n=4, method="inclusive") if len(numbers) > 1 else numbers * 3
        return result | {
            "mean": round(statistics.fmean(numbers), 3),
            "median": quartiles[1],
            "quartiles": [quartiles[0], quartiles[2]],
        }
    return result | {"most_common": Counter(given).most_common()[:MOST]}


def read(lines) -> tuple[list[str], list[list[str]]]:
    rows = list(csv.reader(lines, strict=True))
    if len(rows) < 2:
        raise Fault("the payload must have a line of questions and at least one of answers")
    questions, *answers = rows
    for line, row in enumerate(answers, start=2):
        if len(row) != len(questions):
            raise Fault(f"row {line} has {len(row)} answers to {len(questions)} questions")
    return questions, answers


class Run(exports.Run):
    def run(self) -> None:
        try:
            questions, answers = read(sys.stdin)
        except (Fault, csv.Error, UnicodeDecodeError) as fault:
            print(fault, file=sys.stderr, flush=True)
            # A data error: the job fails for good.
            wasi_exit.exit_with_code(65)
        columns = zip(questions, map(list, zip(*answers)))
        print(json.dumps({question: summary(column) for question, column in columns}, ensure_ascii=False))
        print(f"{len(answers)} people, {len(questions)} questions", file=sys.stderr)
