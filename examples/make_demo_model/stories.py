"""Short texts that state facts, with questions whose answers are spans of the text."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from make_demo_model import material, words


@dataclass(frozen=True)
class Fact:
    """One stated fact: how it is said, and what can be asked about it."""

    sentence: str
    field: str  # a name for the answer, as a JSON key
    question: str
    answer: str


def facts(r: Random, count: int) -> list[Fact]:
    """`count` facts about different people and things, with different fields."""
    makers = r.sample(_FACTS, min(count, len(_FACTS)))
    return [maker(r) for maker in makers]


def document(r: Random) -> str:
    """A paragraph of plain prose."""
    said = [fact.sentence for fact in facts(r, r.randint(1, 3))]
    said += [material.sentence(r) for _ in range(r.randint(2, 4))]
    r.shuffle(said)
    return " ".join(said)


def _lives(r: Random) -> Fact:
    name, city = material.full_name(r), material.city(r)
    said = r.choice((f"{name} lives in {city}.", f"{name} has a house in {city}.", f"The home of {name} is in {city}."))
    return Fact(said, r.choice(("city", "place", "home")), f"Where does {name} live?", city)


def _works(r: Random) -> Fact:
    name, job = material.first_name(r), r.choice(words.JOBS)
    said = r.choice((f"{name} is a {job}.", f"{name} works as a {job}.", f"As a {job}, {name} gets up early."))
    return Fact(said, r.choice(("job", "work", "profession")), f"What does {name} do?", job)


def _age(r: Random) -> Fact:
    name, age = material.first_name(r), str(r.randrange(3, 99))
    said = r.choice(
        (f"{name} is {age} years old.", f"{name} turned {age} last week.", f"At {age}, {name} is still young.")
    )
    return Fact(said, "age", f"How old is {name}?", age)


def _bought(r: Random) -> Fact:
    name, thing, price = material.first_name(r), r.choice(words.THINGS + words.FOODS), material.price(r)
    said = r.choice(
        (
            f"{name} bought the {thing} for {price}.",
            f"{name} paid {price} for a {thing}.",
            f"The {thing} cost {name} {price}.",
        )
    )
    if r.random() < 0.5:
        return Fact(said, r.choice(("price", "cost", "amount")), f"How much was the {thing}?", price)
    return Fact(said, r.choice(("item", "thing", "product")), f"What did {name} buy?", thing)


def _meeting(r: Random) -> Fact:
    name, when = material.full_name(r), material.date(r)
    said = r.choice(
        (
            f"The meeting with {name} is on {when}.",
            f"On {when} we will see {name}.",
            f"{name} comes to the office on {when}.",
        )
    )
    if r.random() < 0.5:
        return Fact(said, r.choice(("date", "day", "when")), f"When is the meeting with {name}?", when)
    return Fact(said, r.choice(("name", "person", "guest")), "Who comes to the meeting?", name)


def _colour(r: Random) -> Fact:
    thing, colour = (
        r.choice(words.THINGS),
        r.choice(_COLOURS),
    )
    said = r.choice((f"The {thing} is {colour}.", f"We painted the {thing} {colour}.", f"It was a {colour} {thing}."))
    return Fact(said, r.choice(("colour", "color")), f"What colour is the {thing}?", colour)


def _order(r: Random) -> Fact:
    code, thing = material.code(r), r.choice(words.THINGS)
    said = r.choice(
        (
            f"The order {code} has a {thing} in it.",
            f"My order number is {code}, it was a {thing}.",
            f"{code} is the reference for the {thing}.",
        )
    )
    return Fact(said, r.choice(("order", "code", "reference", "id")), f"What is the order number of the {thing}?", code)


def _contact(r: Random) -> Fact:
    name, mail = material.first_name(r), material.email(r)
    said = r.choice(
        (
            f"You can write to {name} at {mail}.",
            f"The address of {name} is {mail}.",
            f"Send it to {mail}, that is {name}.",
        )
    )
    return Fact(said, r.choice(("email", "mail", "contact")), f"What is the email of {name}?", mail)


def _travel(r: Random) -> Fact:
    start, end, time = material.city(r), material.city(r), material.clock_time(r)
    said = r.choice(
        (
            f"The train from {start} to {end} leaves at {time}.",
            f"At {time} a bus goes from {start} to {end}.",
            f"Our flight to {end} starts in {start} at {time}.",
        )
    )
    field, question, answer = r.choice((("from", f"Where does the trip to {end} start?", start), ("to", f"Where does the trip from {start} end?", end),
                                        ("time", f"When does the trip to {end} start?", time)))  # fmt: skip
    return Fact(said, field, question, answer)


def _count(r: Random) -> Fact:
    name, count, animal = material.first_name(r), r.randrange(2, 40), r.choice(words.ANIMALS)
    said = r.choice(
        (
            f"{name} has {count} {animal}s.",
            f"{name} saw {count} {animal}s there.",
            f"There were {count} {animal}s, said {name}.",
        )
    )
    return Fact(said, r.choice(("count", "number", "quantity")), f"How many {animal}s are there?", str(count))


def _called(r: Random) -> Fact:
    animal, name = r.choice(words.ANIMALS + words.PLACES), material.invented_word(r).capitalize()
    said = r.choice(
        (f"The {animal} is called {name}.", f"Our {animal} has the name {name}.", f"They call the {animal} {name}.")
    )
    return Fact(said, r.choice(("name", "title", "label")), f"What is the {animal} called?", name)


_COLOURS = words.split("red green blue white black yellow brown grey pink purple orange")

_FACTS: tuple[Callable[[Random], Fact], ...] = (
    _lives,
    _works,
    _age,
    _bought,
    _meeting,
    _colour,
    _order,
    _contact,
    _travel,
    _count,
    _called,
)
