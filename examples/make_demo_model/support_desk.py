"""What customers write to a support desk, by topic, and what a friendly agent writes back."""

from random import Random

_OPENINGS = ("", "", "", "Hello, ", "Hi there, ", "Good morning, ", "Dear team, ", "Excuse me, ", "Hey, ")
_CLOSINGS = ("", "", ".", "!", ", please help", ", thanks", ". I am waiting.", ". Thank you", "?")

_TOPICS: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("the invoice", "my bill", "the card charge", "the monthly payment", "the receipt", "the fee"),
        (
            "{s} is twice the amount I agreed to",
            "why was {s} taken two times",
            "{s} shows a price nobody explained",
            "please correct {s}, the total is wrong",
            "I see {s} but I left last month",
            "who can explain {s}",
        ),
        (
            "Sorry about the charge. Our billing team will check the amount.",
            "We will look at the payment and write to you today.",
        ),
    ),
    (
        ("the parcel", "my order", "the package", "the delivery", "the box", "the courier", "the shipment"),
        (
            "{s} has not arrived yet",
            "when will {s} get here",
            "{s} was sent to the old address",
            "the tracking page says {s} is lost",
            "{s} is five days late",
            "where is {s} now",
        ),
        ("Sorry for the wait. We will ask the carrier where it is.", "Thank you for your patience, it is on the way."),
    ),
    (
        ("my password", "the login page", "my profile", "the email code", "my username", "my account"),
        (
            "{s} does not work any more",
            "I cannot reset {s}",
            "{s} is locked after three tries",
            "how do I change {s}",
            "{s} says I am not a member",
            "somebody else uses {s}",
        ),
        ("Let us get you back in. Please follow the reset link.", "We sent you a new link. Please try it now."),
    ),
    (
        ("the screen", "the battery", "the speaker", "the power button", "the camera", "the charger", "the printer"),
        (
            "{s} broke after one week",
            "{s} makes a strange noise",
            "{s} stopped and will not start",
            "{s} gets very hot",
            "there is a crack in {s}",
            "{s} turns itself off",
        ),
        ("That should not happen. We can repair or replace the device.", "Please send it to us and we will fix it."),
    ),
    (
        ("your team", "the new app", "the service", "the support agent", "the shop", "the design"),
        (
            "{s} is wonderful, thank you",
            "I love {s} so much",
            "{s} made my day",
            "five stars for {s}",
            "{s} was friendly and fast",
            "I will tell my friends about {s}",
        ),
        ("Thank you for the kind words. We will tell everybody here.", "That is lovely to hear. Thank you!"),
    ),
    (
        ("the jacket", "these shoes", "the lamp", "the blue shirt", "the second item", "this gift"),
        (
            "I want to send {s} back",
            "how can I return {s}",
            "{s} does not fit me",
            "please take {s} back",
            "I changed my mind about {s}",
            "{s} is not what I ordered",
        ),
        (
            "You can send it back for free. The label is in your mailbox.",
            "No problem. Please print the form and send it back.",
        ),
    ),
    (
        ("a large size", "the red one", "this model", "a gift card", "the family plan", "next day delivery"),
        (
            "do you have {s}",
            "what does {s} cost",
            "is {s} in stock",
            "can I still order {s}",
            "tell me more about {s}",
            "does the shop sell {s}",
        ),
        ("Yes, we have it. You can order it on our page.", "It is in stock and costs the same as always."),
    ),
)


def exchange(r: Random) -> tuple[str, str]:
    """A customer's message and the agent's answer in free text."""
    subjects, patterns, replies = r.choice(_TOPICS)
    text = r.choice(_OPENINGS) + r.choice(patterns).format(s=r.choice(subjects)) + r.choice(_CLOSINGS)
    if r.random() < 0.4:
        text = text.lower()
    elif r.random() < 0.7:
        text = text[0].upper() + text[1:]
    return text, r.choice(replies)
