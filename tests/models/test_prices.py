"""The cost of a request if the price depends on the size of the input, or on how long the cache keeps tokens."""

from __future__ import annotations

import json

import pytest

from portico.config.check import check
from portico.config.document import Document
from portico.config.load import checked_for_openclaw
from portico.errors import ConfigError
from portico.gateway.forward import StreamMeter
from portico.interfaces.plugins import ModelCost, ModelSpec
from portico.models.loader import CallableModel
from portico.models.protocols import PROTOCOLS, Usage, list_price
from portico.models.reference import ModelReference
from portico.plugins.builtin import ANTHROPIC, MINIMAX
from portico.usage.entry import entry_of
from tests.models.threaded_api import command, events, served

M3 = next(model for model in MINIMAX.models if model.id == "MiniMax-M3").cost
OPUS = ANTHROPIC.models[0].cost
TIERS = "cost: { input: 1, output: 2, tiers: [{ inputAbove: 100, input: 3, output: 4, cacheRead: 0.5, cacheWrite: 5 }] }"


def configured(cost, known=None):
    """Return the `known` prices after the config's `cost`, and the problems found."""
    text = f"{{ models: {{ providers: {{ p: {{ models: [{{ id: 'm', {cost} }}] }} }} }} }}"
    config, problems = check(Document.parse(text, name="f"))
    prices = config.models.providers["p"].models[0].cost
    return prices.over(known) if prices is not None else None, [str(problem) for problem in problems]


@pytest.mark.requirement("E170")
@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        (Usage(512_000, 1_000_000), 0.512 * 0.30 + 1.20),
        (Usage(512_001, 1_000_000), 0.512001 * 0.60 + 2.40),
        # Cached tokens are input: they count for the size, and each has its own price of the tier.
        (Usage(100_000, 1_000_000, 500_000), 0.1 * 0.60 + 2.40 + 0.5 * 0.12),
        (Usage(100_000, 1_000_000, 400_000), 0.1 * 0.30 + 1.20 + 0.4 * 0.06),
        (Usage(500_000, 1_000_000, 0, 20_000), 0.5 * 0.60 + 2.40),
    ],
)
def test_m3_costs_twice_as_much_above_512_000_tokens_of_input(usage, dollars):
    assert list_price(usage, M3) == pytest.approx(dollars)


@pytest.mark.requirement("E170")
def test_of_several_tiers_the_highest_below_the_input_counts_whatever_their_order():
    cost, problems = configured(
        "cost: { input: 1, output: 0, tiers: [{ inputAbove: 30, input: 3 }, { inputAbove: 20, input: 2 }] }"
    )

    assert problems == []
    assert [list_price(Usage(count, 1), cost) * 1_000_000 / count for count in (20, 21, 31)] == pytest.approx([1, 2, 3])


@pytest.mark.requirement("E170")
def test_tiers_are_configured_and_what_a_tier_leaves_out_is_the_price_below_it():
    cost, problems = configured("cost: { input: 1, output: 2, cacheRead: 0.1, tiers: [{ inputAbove: 100, input: 3 }] }")

    assert problems == []
    (tier,) = cost.tiers
    assert (tier.input_above, tier.input, tier.output, tier.cache_read, tier.cache_write) == (100, 3, 2, 0.1, 0)


@pytest.mark.requirement("E170")
def test_a_configured_price_without_tiers_holds_for_every_size_and_one_of_the_cache_alone_keeps_them():
    assert configured("cost: { input: 1, output: 2 }", M3)[0].tiers == ()
    assert configured("cost: { cacheWrite: 2 }", M3)[0].tiers == M3.tiers
    assert configured(TIERS, M3)[0].tiers[0].input_above == 100


@pytest.mark.requirement("E170")
@pytest.mark.parametrize(
    ("tiers", "says"),
    [
        ("5", "`models.providers.p.models[0].cost.tiers` must be an array of objects"),
        ("[{ input: 1 }]", "`models.providers.p.models[0].cost.tiers[0]` needs `inputAbove`"),
        ("[{ inputAbove: 0 }]", "`models.providers.p.models[0].cost.tiers[0].inputAbove` must be a whole number of 1 or more"),
        (
            "[{ inputAbove: 5, input: -1 }]",
            "`models.providers.p.models[0].cost.tiers[0].input` must be a number that is not negative",
        ),
        ("[{ inputAbove: 5, inputs: 1 }]", "`models.providers.p.models[0].cost.tiers[0].inputs` is not a key that Portico knows"),
        (
            "[{ inputAbove: 5 }, { inputAbove: 5 }]",
            "`models.providers.p.models[0].cost.tiers[1].inputAbove` is the same as in an earlier tier",
        ),
    ],
)
def test_tiers_that_cannot_be_are_found_with_their_place(tiers, says):
    _, problems = configured(f"cost: {{ input: 1, tiers: {tiers} }}")

    assert len(problems) == 1
    assert problems[0].startswith("f:1:")
    assert says in problems[0]


@pytest.mark.requirement("E170")
def test_tiers_are_never_written_into_openclaws_file():
    model = "{ id: 'm', name: 'M', cost: { input: 1, output: 2 } }"
    before = Document.parse(
        f"{{ models: {{ providers: {{ p: {{ baseUrl: 'https://h.example', models: [{model}] }} }} }} }}", name="f"
    )
    config_path = ("models", "providers", "p", "models", 0, "cost")

    with pytest.raises(ConfigError, match=r"cost\.tiers` is a key of Portico's own"):
        checked_for_openclaw(before, before.set((*config_path, "tiers"), [{"inputAbove": 5, "input": 1}]))
    assert checked_for_openclaw(before, before.set((*config_path, "input"), 2))


@pytest.mark.requirement("E171")
def test_a_cache_write_of_an_hour_costs_twice_the_input_and_one_of_five_minutes_its_own_price():
    written = {"ephemeral_5m_input_tokens": 400_000, "ephemeral_1h_input_tokens": 600_000}
    usage = PROTOCOLS["anthropic-messages"].usage(
        {"usage": {"output_tokens": 1, "cache_creation_input_tokens": 1_000_000, "cache_creation": written}}
    )

    assert (usage.cache_write, usage.cache_write_1h) == (1_000_000, 600_000)
    assert list_price(usage, OPUS) == pytest.approx(0.4 * 6.25 + 0.6 * 2 * 5.0, abs=1e-4)


@pytest.mark.requirement("E171")
def test_a_cache_write_of_an_hour_is_free_where_the_others_are():
    assert list_price(Usage(0, 1_000_000, 0, 1_000_000, 1_000_000), ModelCost(0.3, 1.2, 0.06)) == 1.2


@pytest.mark.requirement("E171")
@pytest.mark.parametrize(
    ("counts", "write", "hour"),
    [
        ({"cache_creation_input_tokens": 7}, 7, 0),
        ({"cache_creation_input_tokens": 7, "cache_creation": None}, 7, 0),
        ({"cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_1h_input_tokens": "x"}}, 7, 0),
        ({"cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_1h_input_tokens": 9}}, 7, 7),
        ({"cache_creation": {"ephemeral_1h_input_tokens": 9, "ephemeral_5m_input_tokens": 2}}, 11, 9),
    ],
)
def test_cached_tokens_are_never_counted_twice(counts, write, hour):
    usage = PROTOCOLS["anthropic-messages"].usage({"usage": {"output_tokens": 1, **counts}})

    assert (usage.cache_write, usage.cache_write_1h) == (write, hour)


@pytest.mark.requirement("E171")
def test_the_gateways_meter_keeps_the_split_that_only_the_first_event_tells():
    start = {"input_tokens": 3, "cache_creation_input_tokens": 10, "cache_creation": {"ephemeral_1h_input_tokens": 10}}
    events = [
        {"type": "message_start", "message": {"usage": start}},
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 5, "cache_creation_input_tokens": 10}},
        {"type": "message_stop"},
    ]
    meter = StreamMeter(PROTOCOLS["anthropic-messages"])
    for event in events:
        meter.feed(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())

    assert meter.usage == Usage(3, 5, 0, 10, 10)
    model = CallableModel(
        ModelReference("anthropic", "m"), ModelSpec("m", "m", cost=OPUS), "anthropic-messages", "https://x", "c"
    )
    entry = entry_of(model, meter.usage, at_ms=1, client="tool", outcome="answered", attempts=1)
    assert entry.cost_usd == pytest.approx((3 * 5 + 5 * 25 + 10 * 10) / 1_000_000)


@pytest.mark.requirement("E170")
@pytest.mark.requirement("E171")
def test_an_answer_and_the_history_have_the_price_of_the_tier(paths):
    usage = {"input_tokens": 90, "cache_creation_input_tokens": 20, "cache_creation": {"ephemeral_1h_input_tokens": 20}}
    answer = events(
        {"type": "message_start", "message": {"usage": usage}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Here."}},
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 10}},
        {"type": "message_stop"},
    )
    with served(lambda _question: (200, answer)) as origin:
        provider = f"p: {{ baseUrl: '{origin}', apiKey: 'x', api: 'anthropic-messages', models: [{{ id: 'm', {TIERS} }}] }}"
        paths.config.write_text(f"{{ models: {{ providers: {{ {provider} }} }} }}", encoding="utf-8")
        answer = json.loads(command(paths, "ask", "--model", "p/m", "--json", "Why?").stdout)
    spent = json.loads(command(paths, "usage", "cost", "--json").stdout)

    dollars = (90 * 3 + 10 * 4 + 20 * 6) / 1_000_000
    assert answer["cost"] == pytest.approx(dollars)
    assert answer["usage"]["cacheWrite1h"] == 20
    assert spent["total"]["costUsd"] == pytest.approx(dollars)


@pytest.mark.requirement("E170")
def test_the_list_tells_the_tiers(paths):
    rows = json.loads(command(paths, "models", "list", "--all", "--provider", "minimax", "--json").stdout)["models"]
    costs = {row["key"]: row.get("cost") for row in rows}

    above = {"inputAbove": 512_000, "input": 0.6, "output": 2.4, "cacheRead": 0.12, "cacheWrite": 0.0}
    assert costs["minimax/MiniMax-M3"]["tiers"] == [above]
    assert "tiers" not in costs["minimax/MiniMax-M2.1"]


@pytest.mark.requirement("E170")
def test_a_flat_price_is_as_it_was():
    assert list_price(Usage(1_000_000, 1_000_000, 1_000_000, 1_000_000), ModelCost(1, 2, 3, 4)) == 10
