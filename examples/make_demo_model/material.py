"""Random pieces of text: words that exist and words that do not, names, numbers, dates, codes, sentences.

Invented words and codes matter as much as real ones: they teach the model to copy what it has never seen.
"""

import string
from random import Random

from make_demo_model import words

_ONSETS = words.split(
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k kl kr l m n p ph pl pr qu r s sc sh sk sl sm sn sp st str sw t th tr"
    " v w y z"
)
_VOWELS = words.split("a e i o u a e i o u ai au ea ee ei ie io oa oo ou ui y")
_CODAS = ["", "", "", *words.split("b ck d g l ll lt m mp n nd ng nk nt p r rd rk rm rn rt s sk ss st t x z")]
_ENDINGS = words.split(
    "a able ad age al an ance ar ard at ate ed en ence er es est ful ian ic ing ion is ish ism ist ity ive less ly ment"
    " ness o or ous s son ton ure us y"
)


def invented_word(r: Random) -> str:
    """A pronounceable lower-case word of one to three syllables that means nothing."""
    syllables = (r.choice(_ONSETS) + r.choice(_VOWELS) + r.choice(_CODAS) for _ in range(r.choice((1, 1, 2, 2, 2, 3))))
    return "".join(syllables) + (r.choice(_ENDINGS) if r.random() < 0.4 else "")


def word(r: Random) -> str:
    """A word in lower case: mostly a real one, sometimes invented, sometimes a real one with a spelling mistake."""
    chance = r.random()
    if chance < 0.62:
        return r.choice(words.COMMON_WORDS)
    if chance < 0.88:
        return invented_word(r)
    return _misspelt(r, r.choice(words.COMMON_WORDS))


def cased_word(r: Random) -> str:
    """A word or name in any of the usual cases."""
    chance = r.random()
    if chance < 0.6:
        return word(r)
    if chance < 0.75:
        return r.choice(words.NAMES)
    return word(r).capitalize() if chance < 0.88 else word(r).upper()


def first_name(r: Random) -> str:
    return r.choice(words.FIRST_NAMES) if r.random() < 0.6 else invented_word(r).capitalize()


def full_name(r: Random) -> str:
    surname = r.choice(words.SURNAMES) if r.random() < 0.5 else invented_word(r).capitalize()
    return f"{first_name(r)} {surname}"


def city(r: Random) -> str:
    return r.choice(words.CITIES) if r.random() < 0.5 else invented_word(r).capitalize()


def number(r: Random) -> str:
    """A whole number of one to six digits, short ones more often."""
    return str(r.randrange(10 ** r.choice((1, 1, 2, 2, 2, 3, 4, 6))))


def price(r: Random) -> str:
    amount = f"{r.randrange(1, 500)}.{r.randrange(100):02d}" if r.random() < 0.5 else str(r.randrange(1, 900))
    return r.choice(("${}", "{} euros", "{} dollars", "EUR {}", "{} USD")).format(amount)


def date(r: Random) -> str:
    """A date in one of the usual spellings."""
    year, month, day = r.randrange(1990, 2035), r.randrange(1, 13), r.randrange(1, 29)
    name = words.MONTHS[month - 1]
    return r.choice(
        (
            f"{day} {name}",
            f"{name} {day}",
            f"{day} {name} {year}",
            f"{name} {day}, {year}",
            f"{year}-{month:02d}-{day:02d}",
            f"{day:02d}/{month:02d}/{year}",
            r.choice(words.DAYS),
        )
    )


def clock_time(r: Random) -> str:
    hour, minute = r.randrange(1, 13), r.choice((0, 5, 10, 15, 20, 30, 40, 45, 50))
    return r.choice(
        (f"{hour}:{minute:02d}", f"{hour + 11}:{minute:02d}", f"{hour} pm", f"{hour} am", f"{hour} o'clock")
    )


def code(r: Random) -> str:
    """An order number, a reference or the like."""
    letters = "".join(r.choices(string.ascii_uppercase, k=r.randrange(1, 4)))
    digits = "".join(r.choices(string.digits, k=r.randrange(2, 6)))
    return r.choice(("{0}-{1}", "{0}{1}", "#{1}", "{1}-{0}", "{0}_{1}")).format(letters, digits)


def email(r: Random) -> str:
    return f"{invented_word(r)}{r.choice(('', '.' + invented_word(r), number(r)))}@{word(r)}.{r.choice(('com', 'org', 'net'))}"


def key(r: Random) -> str:
    """A field name as in JSON."""
    return word(r) if r.random() < 0.8 else f"{word(r)}_{word(r)}"


def value(r: Random) -> str:
    """Something that a field may hold."""
    kinds = (
        cased_word,
        cased_word,
        cased_word,
        first_name,
        full_name,
        city,
        number,
        price,
        date,
        clock_time,
        code,
        email,
        phrase,
    )
    return r.choice(kinds)(r)


def phrase(r: Random) -> str:
    """A few words: a noun with what belongs to it."""
    noun, adjective = r.choice(words.NOUNS), r.choice(words.ADJECTIVES)
    return r.choice(
        (
            f"the {noun}",
            f"the {adjective} {noun}",
            f"my {noun}",
            f"two {noun}s",
            f"{adjective} {noun}",
            f"{noun} and {r.choice(words.NOUNS)}",
        )
    )


def word_list(r: Random, low: int, high: int) -> list[str]:
    """Between `low` and `high` words, in one case or mixed."""
    make = r.choice((word, word, cased_word, lambda x: x.choice(words.NOUNS)))
    return [make(r) for _ in range(r.randint(low, high))]


def sentence(r: Random) -> str:
    """A sentence about nothing in particular, with its full stop."""
    template = r.choice(_SENTENCES)
    text = template.format(
        name=first_name(r),
        other=first_name(r),
        noun=r.choice(words.NOUNS),
        thing=r.choice(words.THINGS),
        place=r.choice(words.PLACES),
        animal=r.choice(words.ANIMALS),
        food=r.choice(words.FOODS),
        job=r.choice(words.JOBS),
        adjective=r.choice(words.ADJECTIVES),
        feeling=r.choice(words.GOOD + words.BAD),
        verb=r.choice(words.VERBS),
        past=r.choice(words.PAST_VERBS),
        adverb=r.choice(words.ADVERBS),
        topic=r.choice(words.TOPIC_WORDS),
        city=city(r),
        day=r.choice(words.DAYS),
        time=clock_time(r),
        number=r.randrange(2, 60),
        function=r.choice(words.FUNCTION_WORDS),
        invented=invented_word(r),
    )
    return text[0].upper() + text[1:]


def casual(r: Random, text: str) -> str:
    """The same text as people type it: sometimes without capitals or full stop, rarely in capitals."""
    chance = r.random()
    if chance < 0.3:
        return text.lower().rstrip(".")
    if chance < 0.4:
        return text.rstrip(".") + r.choice(("!", "!!", "...", " ..", " :)"))
    return text.upper() if chance < 0.45 else text


def _misspelt(r: Random, text: str) -> str:
    position = r.randrange(len(text))
    other = r.choice(string.ascii_lowercase)
    return r.choice(
        (
            text[:position] + other + text[position:],
            text[:position] + text[position + 1 :] or other,
            text[:position] + other + text[position + 1 :],
            text + r.choice(_ENDINGS),
        )
    )


_SENTENCES = (
    "the {adjective} {noun} {past} the {thing} in the {place}.",
    "{name} {past} a {adjective} {thing} {adverb}.",
    "we {past} the {food} with {food} and it was {feeling}.",
    "I want to {verb} the {noun} before {day}.",
    "{name} and {other} went to the {place} in {city}.",
    "the {job} said that the {thing} is {adjective}.",
    "please {verb} the {thing} and {verb} it {adverb}.",
    "there are {number} {animal}s near the {place}.",
    "my {topic} was {feeling} and I {adverb} {past} it.",
    "can you {verb} my {topic} at {time}?",
    "the {topic} of the {topic} is {adjective}, {function} the {invented} is not.",
    "do not {verb} the {animal} {function} the {place}.",
    "when will the {topic} {verb}?",
    "{name} works as a {job} in {city} and likes {food}.",
    "it is {feeling} to {verb} {function} a {noun}.",
    "the {invented} {past} {number} {noun}s on {day}.",
    "what a {feeling} {noun}!",
    "I {past} it, but the {topic} {function} the {thing} was {feeling}.",
)
