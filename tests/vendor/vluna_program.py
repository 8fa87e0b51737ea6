"""Billing events as a user of the public ``vlunaai`` package records them; run by that package's own environment.

Prints, as JSON, what the package's own models made of each answer. Address and service key come from VLUNA_*.
"""

import asyncio
import json
import os

from vlunaai import (
    RequestContext,
    ServiceClientOptions,
    ServiceKeyCredentials,
    VlunaAIConfig,
    VlunaAIError,
    create_service_client,
)


def event(key: str, job: str, **other: object) -> dict:
    return {
        "event_key": key, "semantic_kind": "outcome", "event_type": "outcome.job_succeeded",
        "occurred_at": "2026-01-02T03:04:05.678+02:00", "payload": {"job": job}, "labels": {"tier": "pro"}, **other,
    }  # fmt: skip


def client_with(secret: str):
    return create_service_client(
        ServiceClientOptions(
            config=VlunaAIConfig(base_url=os.environ["VLUNA_SERVICE_BASE_URL"], realm_id="realm-1"),
            service_key=ServiceKeyCredentials(key_id=os.environ["VLUNA_SERVICE_KEY_ID"], secret=secret),
            error_mode="raise",
        )
    )


async def refusal(client, key: str, job: str) -> list:
    """How the package reports what the server refuses."""
    try:
        context = RequestContext(principal_id="acme", user_id="u1", idempotency_key=key)
        await client.record_billing_event(body=event("k0", job), context=context)
    except VlunaAIError as error:
        return [error.status, error.code]
    return []


async def main() -> None:
    client = client_with(os.environ["VLUNA_SERVICE_KEY_SECRET"])
    context = RequestContext(principal_id="acme", user_id="u1", idempotency_key="request-1")
    single = await client.record_billing_event(body=event("k1", "a"), context=context)
    replay = await client.record_billing_event(body=event("k1", "a"), context=context)
    conflict = await refusal(client, "request-1", "b")
    batch = await client.record_billing_event_batch(
        body={"events": [event("k1", "a"), event("k2", "c"), event("k3", "d", semantic_kind="wish")]},
        context=RequestContext(principal_id="acme", user_id="u1"),
    )
    await client.close()
    stranger = client_with("d3Jvbmc=")
    unsigned = await refusal(stranger, "request-2", "e")
    await stranger.close()
    said = {
        "single": single.model_dump(mode="json"), "replay": replay.model_dump(mode="json"), "conflict": conflict,
        "batch": batch.model_dump(mode="json"), "unsigned": unsigned,
    }  # fmt: skip
    print(json.dumps(said))


asyncio.run(main())
