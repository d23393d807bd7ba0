"""What an emulated processor cannot run, or only too slowly: left out by name, and said so.

A plugin of pytest (``-p tests.arm.left_out``). Everything else that is quick on the build machine
runs; each reason is printed with the number of tests that it costs.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from fnmatch import fnmatch
from importlib.util import find_spec

import numpy as np
import pytest

# A guest cannot start a program of its own kind without binfmt; it can start the launcher.
sys.executable = os.environ.get("BOARD_PYTHON", sys.executable)

PROCESSES = "starts many processes, each of which takes seconds under emulation"
MEMORY = "measures memory or its limits: qemu's own is counted, limits are not enforced"
JUDGE = "asks a program of the host: imgtool, or edgectl with all its libraries"
LONG = "takes too long under emulation; what it tests is arithmetic that shorter tests cover"
OLD = "needs onnxruntime, or a newer scikit-learn or onnx than Debian has for 32 bits"
# tflite-runtime for 32-bit ARM was built so that it does this to the whole process.
SUBNORMAL = "draws subnormal numbers, which importing tflite-runtime switches off on 32-bit ARM"
np.finfo(np.float32), np.finfo(np.float64)  # NumPy warns when it looks only after that
NUMBA = "compares kernels of numba, of which there are no 32-bit wheels"
LEFT_OUT = {
    PROCESSES: (
        "tests/adaptors/test_imports.py::*",
        "tests/board/test_resources.py::*",
        "tests/board/test_serve.py::*",
        "tests/board/test_service_commands.py::*",
        "tests/board/test_standalone.py::test_a_flood_of_labels*",
        "tests/board/test_standalone.py::test_labels_are_learned_where_no_more*",
        "tests/board/test_standalone.py::test_labels_come_over_a_pipe*",
        "tests/inputs/encoders/test_fuzz_models.py::*",
        "tests/inputs/encoders/test_probe.py::*",
        "tests/hdc/test_estimators.py::test_importing*",
        "tests/protocol/packs/test_bounds.py::*",
        "tests/protocol/packs/test_selftest.py::*",
        "tests/state/test_journal.py::test_a_killed_process*",
        "tests/protocol/wire/test_imports.py::*",
        "*::test_importing_the_package_loads_no_inference_library",
    ),
    MEMORY: (
        "tests/board/test_memory.py::*",
        "*::test_a_step_needs_the_memory_of_its_largest_layer*",
        "*::test_learning_needs_no_more_memory_for_a_longer_sequence",
        "*::test_memory_is_bounded_whatever_comes*",
    ),
    JUDGE: (
        "tests/inputs/encoders/test_edgectl_encoder.py::*",
        "tests/inputs/encoders/test_lite0.py::*",
        "tests/protocol/packs/test_edgectl_pack.py::*",
        "*::*imgtool*",
    ),
    LONG: (
        "*::test_every_check_of_scikit_learn_passes*",
        "*::test_scikit_learn_agrees*",
        "tests/adaptors/test_divergence.py::*",
        "tests/runtime/test_endurance.py::*",
        "tests/runtime/test_field_cases.py::*",
        "tests/state/test_forged_files.py::*",
        "*::test_a_changed_field_is_refused_or_serves*",
        "*::test_every_field_emptied_filled_or_retyped_alone_is_refused_or_serves*",
        "*::test_a_pulled_cable_costs_six_messages_at_most*",
        "*::test_a_recorded_stream_gives_the_same_bytes_and_events_again",
        "*::test_an_upload_*",
        "*::test_any_json_in_any_place_is_taken_or_refused_with_a_stream_error",
        "*::test_cbor_round_trip",
        "*::test_codes_momentum_and_noise_reach_the_network_and_learn",
        "*::test_damaged_bytes_reach_every_reader_and_nothing_grows",
        "*::test_digits_are_learned_without_tuning",
        "*::test_fresh_known_samples_raise_no_more_alarms_than_stated*",
        "*::test_local_training_of_whitened_convolutions_beats_random_ones",
        "*::test_new_classes_and_new_domains_in_one_stream_in_any_order*",
        "*::test_no_flipped_bit_is_accepted",
        "*::test_ten_million_updates_do_not_overflow",
        "*::test_the_chosen_adaptor_reads_what_tells_classes_apart",
        "*::test_the_order_of_a_sequence_is_learned_beyond_a_frozen_layer",
        "*::test_values_are_learned*",
        "*::test_without_any_one_sync_it_would_not_hold*",
        "*::TestLossyBoard*",
    ),
}
LEFT_OUT_32 = {
    OLD: (
        "*::test_tags_tell_scikit_learn_the_kind",
        "tests/inputs/encoders/test_accelerators.py::*",
        "tests/inputs/encoders/test_expose.py::*",
        "tests/inputs/encoders/test_quantise.py::*",
        "tests/inputs/*::test_a_model_*",
        "*::test_an_output_beyond_float32_is_reported_as_infinite",
        "*::test_a_raw_integer_input_takes_whole_numbers_only",
        "*::test_feature_maps_are_pooled_channels_first_in_onnx",
        "*::test_inputs_of_no_fixed_or_sane_size_are_refused",
        "*::test_other_float_inputs_are_converted",
        "*::test_outputs_that_are_no_vectors_are_left_out_or_refused_by_name",
    ),
    SUBNORMAL: (
        "*::test_any_json_in_any_field_is_read_or_refused",
        "*::test_both_layouts_pool_the_same_map_to_the_same_vector",
        "*::test_every_event_is_told_once_in_messages_that_fit",
        "*::test_numbers_come_back_as_they_were_written",
        "*::test_pooling_is_the_mean_over_everything_but_batch_and_channels",
        "*::test_quantising_and_back_errs_by_at_most_half_a_step",
        "*::test_scores_do_not_depend_on_scale_or_origin",
        "*::test_units_and_offsets_of_features_do_not_matter",
    ),
}
NEEDS_NUMBA = ("_kernels.py", "test_kernels.py", "test_recurrent.py")


def reason(item) -> str:
    """Why the test is left out; empty if it runs."""
    narrow = find_spec("numba") is None
    fixtures = (*getattr(item, "fixturenames", ()), item.nodeid)
    if narrow and any("small_onnx" in each for each in fixtures):
        return OLD
    for why, patterns in (LEFT_OUT | LEFT_OUT_32 if narrow else LEFT_OUT).items():
        if any(
            fnmatch(item.nodeid, name) or fnmatch(item.nodeid, f"{name}[[]*") for name in patterns
        ):
            return why
    return ""


def pytest_ignore_collect(collection_path):
    if collection_path.name in NEEDS_NUMBA and find_spec("numba") is None:
        return True
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    reasons = {item: reason(item) for item in items}
    config.left_out = Counter(why for why in reasons.values() if why)
    config.hook.pytest_deselected(items=[item for item in items if reasons[item]])
    items[:] = [item for item in items if not reasons[item]]


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.section("left out under emulation")
    if find_spec("numba") is None:
        terminalreporter.line(f"LEFT OUT {', '.join(NEEDS_NUMBA)}: {NUMBA}")
    for why, count in getattr(config, "left_out", Counter()).most_common():
        terminalreporter.line(f"LEFT OUT {count} tests: {why}")
