"""The JSON body of ``/warmup``: every field once, with its schema, its description and its value.

The handlers of ``/warmup`` send ``body``; the OpenAPI document shows ``schema``. Both come from the same two lists.
The earlier service's clients read some of these names, so a name must not change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from service.engines.protocol import Engine, EngineInfo
from service.http import warmup_answer
from service.http.expected_start import expected_seconds
from service.settings import Settings
from supervisor import Outcome, Snapshot, State
from supervisor.snapshot import ReferenceFacts

Source = TypeVar("Source")


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What ``/warmup`` tells about the engine and the canary, beside the supervisor's facts."""

    engine: Engine
    info: EngineInfo | None
    """What is loaded; None before the first load."""
    settings: Settings
    canary_side: int
    """In pixels; at least the configured one."""


@dataclass(frozen=True, slots=True)
class _Field(Generic[Source]):
    name: str
    schema: dict[str, Any]
    value: Callable[[Source], Any]


def _optional(kind: str, description: str) -> dict[str, Any]:
    return {"type": [kind, "null"], "description": description}


def _size(description: str) -> dict[str, Any]:
    pair = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    return pair | {"description": f"{description}: [width, height] in pixels."}


def _sizes(description: str) -> dict[str, Any]:
    items = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    return {
        "type": "array",
        "items": items,
        "description": f"{description}: [width, height] of the model's input.",
    }


_REFERENCES: dict[str, Any] = {
    "type": "object",
    "description": "How the operator's reference pictures stand.",
    "required": ["total", "pass", "fail", "pending", "worst"],
    "properties": {
        **{name: {"type": "integer", "minimum": 0} for name in ("total", "pass", "fail", "pending")},
        "worst": {
            "type": ["object", "null"],
            "description": "The reference whose mask differs most from the accepted one: its mean difference, 0-1.",
            "required": ["file", "error", "max_error"],
            "properties": {
                "file": {"type": "string"},
                "error": {"type": "number"},
                "max_error": {"type": "number"},
            },
        },
    },
}


def _references(facts: ReferenceFacts) -> dict[str, Any]:
    worst = None
    if facts.worst is not None:
        name, measured = facts.worst
        worst = {"file": name, "error": round(measured.error, 5), "max_error": round(measured.max_error, 5)}
    return {
        "total": facts.total,
        "pass": facts.passed,
        "fail": facts.failed,
        "pending": facts.pending,
        "worst": worst,
    }


def _total_seconds(snapshot: Snapshot) -> float | None:
    if snapshot.load_seconds is None or snapshot.probe_seconds is None:
        return None
    return snapshot.load_seconds + snapshot.probe_seconds


_WARMUP_FIELDS: tuple[_Field[Snapshot], ...] = (
    _Field("status", {"type": "string", "enum": ["success", "error", "pending"]}, warmup_answer.status),
    _Field("message", {"type": "string", "description": "For people."}, warmup_answer.message),
    _Field(
        "error_type",
        _optional("string", "The kind of error; null unless `status` is `error`."),
        warmup_answer.error_type,
    ),
    _Field(
        "reason_code",
        _optional("string", "What decided the status, for programs; null if the service is simply ready."),
        warmup_answer.reason_code,
    ),
    _Field(
        "model_ready",
        {"type": "boolean", "description": "Whether a probe has passed since the model was loaded."},
        lambda it: it.proved,
    ),
    _Field(
        "container_ready",
        {"type": "boolean", "description": "Always true: the service answers."},
        lambda _: True,
    ),
    _Field("state", {"type": "string", "enum": [state.value for state in State]}, lambda it: it.state.value),
    _Field(
        "outcome",
        {
            "anyOf": [
                {"type": "string", "enum": [outcome.value for outcome in Outcome]},
                {"type": "null"},
            ],
            "description": "Of the last probe; null if none has finished.",
        },
        warmup_answer.outcome,
    ),
    _Field("consecutive_failures", {"type": "integer", "minimum": 0}, lambda it: it.consecutive_failures),
    _Field(
        "last_success_age_seconds",
        _optional("number", "Seconds since a probe last passed; null if none has."),
        lambda it: it.last_success_age,
    ),
    _Field(
        "interval_seconds",
        {"type": "number", "description": "The current time between probes, in seconds."},
        lambda it: it.interval,
    ),
    _Field("references", _REFERENCES, lambda it: _references(it.references)),
    _Field(
        "real_model_input_size",
        _size("Of the model's input for a photograph; null before the load") | {"type": ["array", "null"]},
        lambda it: None if it.sizes.real is None else list(it.sizes.real),
    ),
    _Field(
        "owed_sizes",
        _sizes("A request failed at these, and the test picture of this size has not ended"),
        lambda it: [list(size) for size in it.sizes.owed],
    ),
    _Field(
        "refused_sizes",
        _sizes("Pictures of these or larger ones are refused for now"),
        lambda it: [list(size) for size in it.sizes.refused],
    ),
    _Field("phase", _optional("string", "What the load is doing."), lambda it: it.phase),
    _Field(
        "phase_seconds",
        _optional("number", "Seconds since that phase began."),
        lambda it: it.phase_seconds,
    ),
    _Field(
        "start_seconds",
        _optional("number", "Seconds since this load began; null once requests are served."),
        lambda it: it.start_seconds,
    ),
    _Field(
        "reason", _optional("string", "Why the state is not `ready`; null if it is."), warmup_answer.reason
    ),
    _Field("load_time", _optional("number", "Seconds that the load took."), lambda it: it.load_seconds),
    _Field(
        "process_time",
        _optional("number", "Seconds that the last finished probe took."),
        lambda it: it.probe_seconds,
    ),
    _Field("total_time", _optional("number", "`load_time` and `process_time` together."), _total_seconds),
    _Field(
        "timestamp", {"type": "number", "description": "Unix time of this answer."}, lambda it: it.timestamp
    ),
    _Field("endpoint", {"type": "string", "const": "/warmup"}, lambda _: "/warmup"),
)

_ENGINE_FIELDS: tuple[_Field[EngineFacts], ...] = (
    _Field(
        "engine",
        {"type": "string", "enum": ["inspyrenet", "u2netp"]},
        lambda it: it.info.engine if it.info else it.engine.name,
    ),
    _Field(
        "fallback",
        _optional("boolean", "Whether this engine stands in for another."),
        lambda it: it.info and it.info.fallback,
    ),
    _Field(
        "fallback_reason",
        _optional("string", "Why it stands in; empty if it does not."),
        lambda it: it.info and it.info.fallback_reason,
    ),
    _Field(
        "device",
        _optional("string", "As torch names it: `cpu`, `cuda:0`."),
        lambda it: it.info and it.info.device,
    ),
    _Field("precision", _optional("string", "`fp32` or `bf16`."), lambda it: it.info and it.info.precision),
    _Field(
        "precision_reason",
        _optional("string", "Why that precision."),
        lambda it: it.info and it.info.precision_reason,
    ),
    _Field(
        "mode",
        _optional("string", "`base`, `fast`, `base-nightly`; `none` for u2netp."),
        lambda it: it.info.mode if it.info else it.settings.mode,
    ),
    _Field(
        "resize",
        _optional("string", "`static` or `dynamic`; `none` for u2netp."),
        lambda it: it.info.resize if it.info else it.settings.resize,
    ),
    _Field(
        "weights",
        _optional("string", "`official`, `file`, `dummy`, or `installed` (u2netp)."),
        lambda it: it.info.weights if it.info else it.settings.weights_kind,
    ),
    _Field(
        "weights_note",
        _optional("string", "What a person must know about the weights."),
        lambda it: it.info and it.info.weights_note,
    ),
    _Field(
        "expected_seconds",
        _optional(
            "number",
            "What a start takes, in seconds: an estimate, measured with this engine on another machine, without a "
            "download. Null once requests are served, and where no start was measured.",
        ),
        lambda it: expected_seconds(it.info.engine if it.info else it.engine.name, it.settings.device),
    ),
    _Field(
        "max_upload_bytes",
        {"type": "integer", "description": "How large a picture's file may be."},
        lambda it: it.settings.max_upload_bytes,
    ),
    _Field(
        "image_size",
        _size("Of the picture that a probe sends"),
        lambda it: [it.canary_side, it.canary_side],
    ),
    _Field(
        "configured_warmup_size",
        {"type": "integer", "description": "The side of that picture in the settings, in pixels."},
        lambda it: it.settings.warmup_size,
    ),
    _Field(
        "model_input_size",
        _size("Of the model's input for that picture"),
        lambda it: list(it.engine.model_input_size(it.canary_side, it.canary_side)),
    ),
)


def body(snapshot: Snapshot, engine: EngineFacts) -> dict[str, Any]:
    """The body, ready for JSON; seconds are rounded to milliseconds."""
    values = {field.name: field.value(snapshot) for field in _WARMUP_FIELDS}
    values |= {field.name: field.value(engine) for field in _ENGINE_FIELDS}
    if snapshot.start_seconds is None:  # it is known by the engine's facts, and means nothing without a start
        values["expected_seconds"] = None
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


def schema() -> dict[str, Any]:
    """The JSON schema of the body; every field is always there."""
    properties = {field.name: field.schema for field in _WARMUP_FIELDS}
    properties |= {field.name: field.schema for field in _ENGINE_FIELDS}
    return {"type": "object", "required": list(properties), "properties": properties}
