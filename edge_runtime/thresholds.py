"""Every threshold, in one place: its unit and its reason. Nothing else is here."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class PolicySettings:
    """Every threshold, with its unit and its reason."""

    # Share of known samples that may be called strange: the promise that the user sets.
    false_alarm_rate: float = 0.05
    # Known samples between two false drift alarms, on average, at the least: at one sample a
    # second, one in a day.
    drift_run_length: float = 100_000.0
    # Labels that a class of a new domain may cost at the most: what a person answers without anger.
    # Once a class has them no more are asked for, as the next one could be of it.
    labels_per_class: int = 10
    # Labels that decide what a drift is where they come whether asked for or not.
    enough_labels: int = 128
    # Samples after an alarm within which labels must come; later, what came has to do.
    patience_samples: int = 1000
    # Requests in a row whose samples are forgotten unanswered, after which a domain that moves is
    # followed by the labels that came: it does not wait for more.
    vain_requests: int = 3
    # Labels at which a new slot is tried for the first time, and between two trials.
    first_trial_labels: int = 20
    trial_every_labels: int = 10
    # Labels collected for one trial, at most: ten of each of fifty classes.
    collected_labels: int = 512
    # Standard errors by which an early trial must win; the last one needs the plain gain only.
    early_confidence: float = 2.0
    # Share of held-out labels that a new slot must answer better than what exists. A slot costs
    # about a megabyte, so it must earn it.
    growth_gain: float = 0.03
    # Samples looked back on to say that the strangers have ended, and how many of them may still
    # be strange: at 5 % two of forty are expected, at 25 % two or fewer come once in a thousand.
    calm_window: int = 40
    calm_strangers: int = 2
    # Samples between two false suspicions, on average: while the stream is suspect, labels are held
    # back from slots. Three wrong answers in a row raise it where one in seven is the rule.
    suspect_run_length: float = 30.0
    # Labels held back at the most; beyond that the oldest are learned after all.
    held_labels: int = 64
    # Part of its spread by which a sample is off where recent ones were, to count as shifted, and
    # the share of samples for which that is chance. On PACS (held-out training rows) it is 0.68 to
    # 1 of the samples of another domain, 0.01 of those of its own, and 0.1 where classes come one
    # after the other.
    shift: float = 0.04
    shifted_samples: float = 0.2
    # Part of that shift below which samples are where they always were, whatever else is strange.
    still_share: float = 0.25
    # Of the shift now, the part that there was `gradual_samples` ago or before in a slow drift.
    slow_share: float = 0.3
    # Samples for which suspicion must have grown before the alarm to call the drift gradual: a
    # sudden one takes about twenty, whatever its size.
    gradual_samples: int = 40
    # Share of labels whose class the slot hardly knows, from which a trial is about new classes,
    # which the slot should learn in place rather than leave to another.
    new_class_share: float = 0.5
    # Labels of such classes from which a slot that answers better with them learns them at once:
    # four of each of two classes.
    new_class_labels: int = 8
    # Labels asked for in an hour at the most; 0 is no limit. What one person has time for.
    labels_per_hour: int = 0
    # Of the samples whose label would help, the share that is asked for: the uncertain ones, and
    # those unlike what has been asked. On PACS, ten labels of each class, two seeds of held-out
    # training rows: 0.5 noticed and learned all domains; 1 was a point better in the first three.
    ask_share: float = 0.5
    # Samples in a row that are equal to the last bit, or for which a channel does not move, before
    # the sensor is called stuck: noise never repeats.
    stuck_samples: int = 5
    # Share of samples at the end of a channel's range that means saturation; measured over twice
    # as many samples as `stuck_samples`.
    saturated_share: float = 0.5
    # Share by which the frame of a slot follows each known sample without its label; 0 is off, as
    # a new domain that lies inside an old one would be followed too. 0.004 follows what takes a
    # thousand samples, and not the mix of classes in a hundred.
    follow_rate: float = 0.0
    # How far a frame may follow, root mean square over features in standard deviations: beyond
    # that it is no longer the same domain, and labels must say so.
    follow_limit: float = 1.0
    # Whether a slot with few labels learns known samples whose class is sure; see `self_training`.
    self_training: bool = True
    # Share of strangers that means yet another domain while a young slot is still being filled:
    # fewer are classes that it has not met.
    filling_strangers: float = 0.5
    # Consecutive samples of another slot that mean that the stream has moved there.
    switch_samples: int = 8
    # Samples after a rejected growth during which the detector rests, so as not to nag.
    rest_samples: int = 500
    # Probability from which the best class of a known sample is certain: half of all samples of
    # PACS, whose true labels contradict in 0.3 to 3.6 % of cases, by domain.
    certainty: float = 0.99
    # Labels of a class in a slot from which a contradiction counts: with fewer it is being learned.
    confirmed_labels: int = 10
    # Share of certain samples whose labels may contradict: slips of a person and of the runtime.
    contradiction_rate: float = 0.03
    # Such labels between two false alarms on contradictions, on average, at the least.
    contradiction_run_length: float = 10_000.0
    # Share of changes that may be undone although they did no harm, at the most.
    false_undo_rate: float = 0.001
    # Labels after which a change is trusted, if nothing speaks against it.
    trusted_after_labels: int = 64
    # Confirmed samples kept to judge changes by, and doubtful labels held back in a slot.
    canaries: int = 256
    doubtful_labels: int = 32

    def __post_init__(self) -> None:
        for each in fields(self):  # numbers of a pack's manifest are floats
            value = getattr(self, each.name)
            if type(each.default) is int and type(value) is not int:
                if not float(value).is_integer():  # nor NaN, nor infinity
                    raise ValueError(f"{each.name} is {value}, expected a whole number")
                object.__setattr__(self, each.name, int(value))
        if not 0 < self.false_alarm_rate < 0.5:
            raise ValueError(f"false_alarm_rate is {self.false_alarm_rate}, expected in (0, 0.5)")
        if self.labels_per_class < 2 or self.first_trial_labels < 2:
            raise ValueError(
                f"labels_per_class {self.labels_per_class}, first_trial_labels "
                f"{self.first_trial_labels}: expected 2 or more, one to learn from and one to check"
            )
        least = max(self.first_trial_labels, self.held_labels + 1)
        if self.collected_labels < least:
            raise ValueError(
                f"collected_labels is {self.collected_labels}, expected {least} or more: "
                "first_trial_labels, and one more than held_labels, which are collected at once"
            )
        shares = {"ask_share": self.ask_share, "saturated_share": self.saturated_share}
        for name, share in shares.items():
            if not 0 < share <= 1:
                raise ValueError(f"{name} is {share}, expected in (0, 1]")
        if self.labels_per_hour < 0 or not 0 <= self.follow_rate < 1 or self.stuck_samples < 2:
            raise ValueError(
                f"labels_per_hour {self.labels_per_hour}, follow_rate {self.follow_rate}, "
                f"stuck_samples {self.stuck_samples}: expected >= 0, in [0, 1), and >= 2"
            )

    def labels_to_decide(self, n_classes: int) -> int:
        """Labels without which a trial cannot be decided.

        As many as for a first trial; of two classes no more may come, if one of them has all that
        it may cost.
        """
        return min(self.first_trial_labels, self.labels_per_class * max(n_classes - 1, 1))

    @property
    def calibration_samples(self) -> int:
        """Known samples without which the rate cannot be kept: the least p-value is 1 / (n + 1)."""
        return round(1 / self.false_alarm_rate)
