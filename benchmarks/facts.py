"""Questions and answers made from a table of facts, each asked in two ways: one to learn, one held out."""

import json
import random
from pathlib import Path

FIRST = "Alma Bruno Clara Dario Edith Fabian Greta Hugo Ilse Jonas Karin Lorenz Mira Nils Olga Piet Runa Sven Tilda Ulf"
LAST = "Ashdown Birkeland Corvin Dahlmann Eschbach Falkner Grindal Hollin Ivarsen Jessop"
TOWNS = "Arnvik Bellmoor Castrup Dornfeld Elmsby Farholt Grenna Hollerby Ipsden Jarlund Kestrel Lundby Marstow Norrby"
TRADES = "baker|glazier|ferryman|bookbinder|surveyor|beekeeper|organist|tinsmith|midwife|cartographer|joiner|potter"
PETS = "a grey parrot|two goats|an old hound|a blind cat|a tortoise|three hens|a white ferret|a lame donkey"

QUESTIONS = {
    "town": (
        "Where does {name} live?",
        "In which town would you find the house of {name}?",
        "{name} lives in {value}.",
    ),
    "trade": ("What is the trade of {name}?", "How does {name} earn a living?", "{name} is a {value}."),
    "year": ("When was {name} born?", "What is the year of birth of {name}?", "{name} was born in {value}."),
    "pet": ("Which animals does {name} keep?", "Does {name} have a pet?", "{name} keeps {value}."),
}
"""For each fact the question to learn, another way to ask it, and the answer."""


def make_facts(people: int, seed: int = 1) -> list[dict[str, str]]:
    """Facts of so many people, one after the other."""
    chance = random.Random(seed)
    names = [f"{first} {last}" for first in FIRST.split() for last in LAST.split()]
    return [
        {
            "name": name,
            "town": chance.choice(TOWNS.split()),
            "trade": chance.choice(TRADES.split("|")),
            "year": str(chance.randint(1820, 1990)),
            "pet": chance.choice(PETS.split("|")),
        }
        for name in chance.sample(names, people)
    ]


def asked(facts: list[dict[str, str]], way: int) -> list[tuple[str, str]]:
    """Question and answer for each fact of each person; `way` 0 is the one to learn, 1 the one held out."""
    return [
        (texts[way].format(name=person["name"]), texts[2].format(name=person["name"], value=person[fact]))
        for person in facts
        for fact, texts in QUESTIONS.items()
    ]


def write_conversations(path: Path, pairs: list[tuple[str, str]]) -> None:
    """As JSON lines of prompt and answer."""
    lines = [json.dumps({"prompt": question, "answer": answer}) for question, answer in pairs]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
