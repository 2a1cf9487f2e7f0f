"""A small lexicon of financial English, written for this project: the baseline that a model of texts has to beat.

A text's score lies between -1 and 1: good words minus bad ones, over all of them and one more. A negation turns what
follows it round, a strengthening word adds half. Filings are told by their form and item numbers: that of a
restatement, a bankruptcy or a delisting is bad whatever it says.
"""

from __future__ import annotations

from typing import Final

from engine.model.text_tokens import words

REACH: Final = 3
"""So many words after it a negation or a strengthening word still counts."""

_GOOD = """
    accelerate accelerates accelerating achieve achieved achieves advance advanced advances approval approved approves
    attractive awarded awards beat beating beats benefit benefits boom booming boost boosted boosts breakthrough
    bullish buyback buybacks climb climbed climbs confident dividend dividends doubled doubles efficient exceed
    exceeded exceeds excellent expand expanded expanding expands expansion favorable gain gained gaining gains grew
    growing grows growth honored improve improved improvement improves improving increase increased increases
    innovation innovative jump jumped jumps launch launched launches leader leading lifts momentum opportunity
    optimistic outpace outpaced outpaces outperform outperformed outperforms overweight partnership patent positive
    praise praised profit profitable profits progress promising raise raised raises rallied rallies rally rebound
    rebounded rebounds record recover recovered recovers recovery resilient reward rewarded rewards rise risen rises
    rising robust rocket rockets rose skyrocket skyrocketed soar soared soaring soars solid stellar strength
    strengthen strengthened strengthens strong stronger strongest succeed succeeded success successful surge surged
    surges surging surpass surpassed surpasses tailwind tailwinds thrive thriving topped topping tops triple tripled
    unveil unveiled unveils upbeat upgrade upgraded upgrades upside upward win winner winning wins won
"""
_BAD = """
    abandon abandoned abuse accident accused accuses adverse alarm allegation allegations alleged alleges
    anticompetitive antitrust attack attacked bad ban bankrupt bankruptcy banned bans bearish blame blamed blocked
    blow boycott breach breached bribery burden cancel canceled cancels caution cautious complaint complaints concern
    concerns controversial controversy crash crashed crashes crime criminal crisis criticism criticize criticized cut
    cuts cutting damage damaged damages danger dangerous debt decline declined declines declining decrease decreased
    decreases default defaulted defaults defect defective deficit delay delayed delays delist delisted denied denies
    deteriorate deteriorating dip dipped dips disappoint disappointed disappointing disappoints dispute disputes
    disrupt disrupted disruption divest doubt doubts downgrade downgraded downgrades downside downturn downward drag
    drop dropped dropping drops dump dumped dumps erode eroded fail failed failing fails failure fake fall fallen
    falling falls fear fears fell fined fines fired flaw flaws fraud fraudulent glitch guilty hack hacked hackers halt
    halted halts harm harmed headwind headwinds illegal impair impaired impairment inadequate inquiry insolvent
    investigate investigated investigation investigations jail lag lagged lagging lags lawsuit lawsuits layoff layoffs
    leak leaked litigation lose loses losing loss losses lost lower lowered lowers malware miss missed misses missing
    monopoly negative nt outage overvalued penalty pessimistic plummet plummeted plummets plunge plunged plunges poor
    probe probes problem problems protest protests recall recalled recalls recession reject rejected rejects resign
    resigned resigns restate restated restatement retreat risk risks risky sank scam scandal scrutiny sell-off selloff
    sells setback shortage shortages shortfall shrink shrinking shrinks shut shutdown sink sinking sinks slash slashed
    slashes slid slide slides slip slipped slips slow slowdown slowed slowing slows slump slumped slumps snub snubs
    stolen struggle struggled struggles struggling stuck subpoena sue sued sues suffer suffered suffers suspend
    suspended suspends suspension tariff tariffs terminate terminated theft threat threaten threatened threatens
    trouble troubled tumble tumbled tumbles uncertain uncertainty underperform underperformed underperforms
    underweight unfavorable unprofitable victim violate violated violates violation violations volatile volatility
    vulnerability warn warned warning warnings warns weak weaken weakened weaker weakness weigh weighs woes worried
    worries worry worse worst wrong
"""
_NEGATIONS = """
    no not never without neither nor cannot can't won't isn't aren't doesn't don't didn't wasn't weren't hasn't haven't
    avoid avoids avoided despite end ends ease eases eased dismiss dismisses dismissed
"""
_STRENGTHS = "very sharply strongly massive massively huge hugely highly significantly most big biggest"
_ITEMS = {"1.03": -2.0, "2.06": -1.0, "3.01": -1.0, "4.01": -0.5, "4.02": -2.0}
"""Items of an 8-K: bankruptcy, impairment, notice of delisting, another auditor, statements not to be relied upon."""

WORTH: Final[dict[str, float]] = dict.fromkeys(_GOOD.split(), 1.0) | dict.fromkeys(_BAD.split(), -1.0) | _ITEMS
NEGATIONS: Final = frozenset(_NEGATIONS.split())
STRENGTHS: Final = frozenset(_STRENGTHS.split())


def lexicon_score(text: str) -> float:
    """Return what a text's words are worth together, from -1 to 1; 0 for one that holds none that is known."""
    good = bad = 0.0
    negated = strong = -REACH - 1
    for place, word in enumerate(words(text)):
        worth = WORTH.get(word, 0.0)
        if worth:
            worth *= 1.5 if place - strong <= REACH else 1.0
            worth *= -1.0 if place - negated <= REACH else 1.0
            good, bad = good + max(worth, 0.0), bad - min(worth, 0.0)
        if word in NEGATIONS:
            negated = place
        elif word in STRENGTHS:
            strong = place
        elif word in (".", ";", ":", "?", "!"):
            negated = strong = -REACH - 1
    return (good - bad) / (good + bad + 1.0)
