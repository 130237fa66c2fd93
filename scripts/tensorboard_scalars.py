#!/usr/bin/env python3
"""What does TensorBoard read in a run's directory? tensorboard_scalars.py RUN

Prints one JSON object: the scalars of each tag as pairs of step and value, and of
each histogram the steps and the numbers of values.
"""
import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "histograms": 0})
events.Reload()
tags = events.Tags()
json.dump(
    {
        "scalars": {tag: [[event.step, event.value] for event in events.Scalars(tag)] for tag in tags["scalars"]},
        "histograms": {
            tag: [[event.step, event.histogram_value.num] for event in events.Histograms(tag)]
            for tag in tags["histograms"]
        },
    },
    sys.stdout,
)
