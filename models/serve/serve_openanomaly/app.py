"""The HTTP side: every protocol that OpenAnomaly speaks with a model."""

from __future__ import annotations

import json
import tempfile
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Form, Header, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from polars.exceptions import PolarsError
from pydantic import BaseModel, Field

from .frames import Writer, columns
from .models import BadRequest, Forecaster, train

ARROW = "application/vnd.apache.arrow.file"
UNITS = {"second": 1, "S": 1, "minute": 60, "T": 60, "hour": 3600, "H": 3600, "day": 86400, "D": 86400, "week": 604800, "W": 604800}


class Question(BaseModel):
    """The original's JSON; without `context` where an Arrow file holds the series."""

    prediction_length: int = Field(ge=1, le=100_000)
    quantiles: list[float] = Field(min_length=1)
    parameters: dict[str, Any] = {}
    context: list[float | None] = []


class Training(BaseModel):
    data: list[dict[str, Any]]
    parameters: dict[str, Any] = {}


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class Inference(BaseModel):
    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: list[Tensor]


class SeriesInput(BaseModel):
    type: str
    name: str
    series: list[float]
    frequency: str
    start_timestamp: str | None = None


class Options(BaseModel):
    horizon: int = Field(ge=1, le=100_000)
    quantiles: list[float] = Field(min_length=1)
    model_config = {"extra": "allow"}


class ForecastRequest(BaseModel):
    model: str
    inputs: list[SeriesInput]
    options: Options


def make_app(model: Forecaster, writer: Writer, artifacts: Path | None = None) -> FastAPI:
    """The service for one model. What is trained is kept in `artifacts`."""
    app = FastAPI(title="serve-openanomaly")
    artifacts = artifacts or Path(tempfile.mkdtemp(prefix="serve-openanomaly-"))

    @app.exception_handler(BadRequest)
    def bad_request(_: Request, error: BadRequest) -> Response:
        return JSONResponse({"error": str(error)}, status_code=400)

    def ask(histories: list[np.ndarray], horizon: int, levels: list[float], parameters: dict[str, Any]) -> np.ndarray:
        found = model.forecast(histories, horizon, levels, settings(parameters))
        return in_order(found, levels)

    @app.get("/health")
    @app.get("/v2/health/live")
    @app.get("/v2/health/ready")
    @app.get("/v2/models/{name:path}/ready")
    def health(name: str = "") -> Response:
        return Response(status_code=200)

    @app.post("/predict")
    def predict(question: Question) -> dict[str, Any]:
        history = np.array(question.context, dtype=np.float64)
        quantiles = ask([history], question.prediction_length, question.quantiles, question.parameters)
        return in_json(question.quantiles, quantiles)

    @app.post("/predict/arrow")
    def predict_arrow(data: UploadFile, request: str = Form(), accept: str = Header(default="")) -> Response:
        try:
            question = Question.model_validate_json(request)
            asked = writer.read(data.file.read())
        except (KeyError, OSError, ValueError, PolarsError) as error:
            raise BadRequest(f"the request can't be read: {error}") from error
        quantiles = ask(
            asked.histories, question.prediction_length, question.quantiles, question.parameters
        )
        if len(asked.ids) == 1 and ARROW not in accept:
            return JSONResponse(in_json(question.quantiles, quantiles))
        return Response(writer.write(asked, question.quantiles, quantiles), media_type=ARROW)

    @app.post("/train")
    def train_model(training: Training) -> dict[str, str]:
        return {"model_id": train(training.data, training.parameters, artifacts)}

    @app.post("/v2/models/{name:path}/infer")
    def infer(name: str, inference: Inference) -> dict[str, Any]:
        found = {tensor.name: tensor for tensor in inference.inputs}
        contexts, observed = array(found, "context", np.float64), array(found, "observed", bool)
        horizon, levels = int(array(found, "horizon", np.int64)[0]), array(found, "levels", np.float64).tolist()
        histories = [np.where(seen, context, np.nan) for context, seen in zip(contexts, observed)]
        histories = [history[np.argmax(np.isfinite(history)) :] for history in histories]
        quantiles = ask(histories, horizon, levels, inference.parameters)
        output = {"name": "quantiles", "datatype": "FP64", "shape": quantiles.shape, "data": quantiles.ravel().tolist()}
        return {"model_name": name, "id": inference.id or str(uuid.uuid4()), "outputs": [output]}

    @app.post("/v1/timeseries/forecast")
    def forecast(request: ForecastRequest) -> dict[str, Any]:
        options = request.options
        histories = [np.array(one.series, dtype=np.float64) for one in request.inputs]
        quantiles = ask(histories, options.horizon, options.quantiles, options.model_extra or {})
        outputs = [
            {"type": "time_series_forecast", "id": str(uuid.uuid4()), "status": "completed", "content": [content], "error": None}
            for content in (in_kserve(one, options.quantiles, rows) for one, rows in zip(request.inputs, quantiles))
        ]
        created = int(datetime.now().timestamp())
        answer = {"id": str(uuid.uuid4()), "created_at": created, "status": "completed", "error": None}
        return answer | {"model": request.model, "outputs": outputs}

    def settings(parameters: dict[str, Any]) -> dict[str, Any]:
        """With `model_id`, what was learnt under it holds where the request says nothing else."""
        model_id = parameters.get("model_id")
        if model_id is None:
            return parameters
        known = {path.stem: path for path in artifacts.glob("*.json")}
        if model_id not in known:
            raise BadRequest(f"there is no model {model_id!r}")
        return {"season": json.loads(known[model_id].read_text())["season"]} | parameters

    return app


def in_order(quantiles: np.ndarray, levels: list[float]) -> np.ndarray:
    """Quantiles that cross are put in order: "rearrangement", which is never worse (Chernozhukov et al., 2010)."""
    rows = np.empty_like(quantiles)
    rows[:, np.argsort(levels)] = np.sort(quantiles, axis=1)
    return rows


def in_json(levels: list[float], quantiles: np.ndarray) -> dict[str, Any]:
    found = columns(levels, quantiles)
    return {
        "mean": found["mean"].tolist(),
        "quantiles": {str(level): found[f"q_{level}"].tolist() for level in levels},
    }


def in_kserve(one: SeriesInput, levels: list[float], rows: np.ndarray) -> dict[str, Any]:
    if one.frequency not in UNITS:
        raise BadRequest(f"the frequency {one.frequency!r} is not supported")
    answer = in_json(levels, rows[None])
    start = datetime.fromisoformat((one.start_timestamp or "1970-01-01T00:00:00Z").replace("Z", "+00:00"))
    start += timedelta(seconds=UNITS[one.frequency] * len(one.series))
    return {
        "type": one.type,
        "name": one.name,
        "mean_forecast": answer["mean"],
        "frequency": one.frequency,
        "start_timestamp": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "quantiles": answer["quantiles"],
    }


def array(tensors: dict[str, Tensor], name: str, kind: type) -> np.ndarray:
    if name not in tensors:
        raise BadRequest(f"the input {name} is missing")
    try:
        return np.array(tensors[name].data, dtype=kind).reshape(tensors[name].shape)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"the input {name}: {error}") from error
