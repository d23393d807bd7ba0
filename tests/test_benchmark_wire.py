"""The benchmark of uploads: the bars of the protocol in simulated time, and one real transfer."""

import pytest

from benchmarks import wire
from benchmarks.wire import Case
from edge_runtime.protocol.wire.framing import Framing


@pytest.mark.parametrize("baud", wire.RATES)
@pytest.mark.parametrize(
    ("case", "least"),
    [
        (Case("own", Framing.COBS), 0.96),
        (Case("own", Framing.COBS, latency_s=0.008), 0.93),
        (Case("own", Framing.CONSOLE), 0.70),
        (Case("own", Framing.COBS, telemetry=True), 0.94),
    ],
)
def test_an_upload_fills_the_line_and_loses_no_telemetry(case, least, baud):
    share, n_lost = wire.simulate(case, baud, 4 * baud // 10)
    assert share is not None
    assert share >= least
    assert n_lost == 0


@pytest.mark.slow
@pytest.mark.parametrize("client", ["own", "smpclient"])
def test_a_signed_pack_of_noise_is_staged_by_the_real_agent(client):
    if client == "smpclient":
        pytest.importorskip("smpclient", reason="NO smpclient: this foreign client was not tried")
    share = wire.real(Case(client, Framing.CONSOLE, buf_size=4096), 921_600, 50_000, seed=0)
    assert share is not None
    assert 0 < share < 0.7323  # what the framing leaves at most


def test_what_cannot_be_measured_is_a_dash():
    assert wire.simulate(Case("smpclient", Framing.CONSOLE), 115_200, 1000) == (None, 0)
    assert wire._share(None) == "-"
