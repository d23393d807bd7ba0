"""The agent is killed, again and again, in the middle of whatever it does.

    python -m tests.board.kills --kills 200

A host pushes, marks, resets, confirms, labels and pulls without end; SIGKILL comes at a random
moment. After each one, the disk must have an active pack, whole, the old one or the new, and
learned state that is no older than what a host was told is saved.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
from collections import Counter
from pathlib import Path

from edge_runtime.board.files import Files
from edge_runtime.board.images import BoardLimits, ImageStore
from edge_runtime.protocol.pack import read_pack
from edge_runtime.protocol.wire import edge_messages as edge
from edge_runtime.protocol.wire.messages import (
    ImageStateRequest,
    ResetRequest,
    SetImageStateRequest,
)
from edge_runtime.protocol.wire.smp import Refusal
from edge_runtime.protocol.wire.upload import UploadState
from edge_runtime.state import generations
from tests.board.bad_packs import BadWorkshop
from tests.board.host import AgentGone, AgentProcess

# What is interrupted, and how long it takes at the most.
MOMENTS = {"upload": 0.2, "test": 2.0, "switch": 3.0, "confirm": 0.1, "learn": 0.5, "save": 0.2}


class Life:
    """A host's endless work, and what it was promised."""

    def __init__(self, agent, packs):
        self.agent, self.host, self.packs = agent, agent.host, packs
        self.n_updates = 0
        self.saved = {}  # deployment id: generation that is known to be on the disk
        self.phases = Counter()
        self.doing, self.target, self.delay_s = "start", "", 0.0

    def kill_during(self, moment, delay_s):
        """Arm the trap."""
        self.target, self.delay_s = moment, delay_s

    def _begin(self, moment):
        self.doing = moment
        if moment == self.target:
            self.target = ""
            threading.Timer(self.delay_s, self.agent.process.kill).start()

    def work(self):
        """Until the agent is gone."""
        try:
            while True:
                self._update()
                self._learn()
        except AgentGone:
            self.phases[self.doing] += 1

    def _images(self):
        answer = self.host.ask(ImageStateRequest())
        assert not isinstance(answer, Refusal), answer
        return answer.images

    def _update(self):
        active = next(each for each in self._images() if each.active)
        # A trial that the kill did not end is ended here.
        if not active.confirmed:
            self.host.ask(SetImageStateRequest(confirm=True))
        version = "1.1.0" if active.version == "1.0.0" else "1.0.0"
        self._begin("upload")
        upload = self.host.upload(self.packs[version])
        if upload.state is not UploadState.DONE:
            return
        self._begin("test")
        waiting = next((each for each in self._images() if not each.active), None)
        if waiting is None or isinstance(
            self.host.ask(SetImageStateRequest(waiting.hash)), Refusal
        ):
            return
        self._begin("switch")
        self.host.ask(ResetRequest())
        self.host.wait(lambda s: s.agent["phase"] in ("trial", "reverted"))
        self.host.wait(lambda s: s.agent["worker"] == "ready")
        self._begin("confirm")
        self.host.ask(SetImageStateRequest(confirm=True))
        self.n_updates += 1

    def _learn(self):
        self._begin("learn")
        status = self.host.wait(
            lambda s: s.agent["worker"] == "ready" and s.runtime["counters"]["samples"] > 3
        )
        newest = self.host.ask(edge.MetricsRequest()).next - 1
        rows = self.host.ask(edge.MetricsRequest(newest)).rows
        if rows:
            self.host.ask(edge.LabelsRequest((edge.LabelEntry(int(rows[0][0]), "low"),)))
        self._begin("save")
        running = status.agent["running"][0]["id"]
        if not isinstance(self.host.ask(edge.PullRequest("state")), Refusal):
            self.saved[running] = self.host.status().runtime["generation"]


def check(directory, life):
    """The disk as it is after a kill: what would run, and what it has learned."""
    files = Files(directory / "packs")
    store = ImageStore(files, None, BoardLimits("0.1.0"))
    active = store.record.active
    assert active is not None, "neither the old pack nor the new one is active"
    assert active.model.version in life.packs
    with files.open(f"{active.model.id}.pack") as file:
        assert read_pack(file, None).id == active.model.id
    learned = generations.load(Path(store.places(active).learned))
    assert learned.damaged == ()
    promised = life.saved.get(active.model.id[:12], 0)
    assert learned.number >= promised, f"generation {promised} was saved, {learned.number} is there"


def run(directory, n_kills, seed=0, report=lambda text: None):
    """Kill so often; what was being done when it happened."""
    workshop, chance = BadWorkshop(directory), random.Random(seed)
    packs = {
        "1.0.0": workshop.good,
        "1.1.0": workshop._model("good.onnx", "1.1.0", canaries=True),
    }
    with AgentProcess(
        directory / "state", "--stream", f"table:{directory}/stream.npy", "--interval", "0.02",
        "--repeat", "--save-s", "0.5",
    ) as agent:  # fmt: skip
        agent.host.install(packs["1.0.0"])
        life = Life(agent, packs)
        for number in range(n_kills):
            moment = chance.choice(list(MOMENTS))
            life.kill_during(moment, chance.uniform(0.0, MOMENTS[moment]))
            life.work()
            agent.kill()
            check(directory / "state", life)
            agent.start()
            report(f"{number + 1:4} during {life.doing}; {life.n_updates} updates so far")
        agent.host.wait(lambda status: status.agent["worker"] == "ready")
        return life


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        life = run(
            Path(directory), arguments.kills, arguments.seed, lambda text: print(text, flush=True)
        )
    print(f"{arguments.kills} kills, {life.n_updates} updates: {dict(life.phases)}")


if __name__ == "__main__":
    main()
