"""M12: alerts of the whole service: a failed deployment reaches a webhook that was made over HTTP."""

import asyncio
import json

from standardwebhooks import Webhook

from app.core.facts import announce
from app.deployments.facts import DeploymentFailed
from tests.conftest import TESTER


async def test_a_failed_deployment_reaches_a_webhook_by_itself(service, client, receiver):
    order = {"name": "hook", "kind": "webhook", "url": receiver.url}
    made = (await client.post("/api/system/channels", json=order)).json()
    async with service.state.database.writes(TESTER) as session:
        announce(session, DeploymentFailed("m", 2, "production", "d-1", problem="out of memory"))
    await asyncio.wait_for(receiver.arrived.wait(), 60)
    [sent] = receiver.received
    told = Webhook(made["secret"]).verify(sent.body, sent.headers)
    assert told["data"]["fingerprint"] == "deployment-failure/model:m"
    [incident] = (await client.get("/api/v1/system/incidents")).json()["items"]
    assert told["data"]["incident_id"] == incident["id"]


async def test_a_rule_is_refused_with_a_page_that_explains_it(client):
    refused = await client.get("/api/system/alert-rules/none")
    page = await client.get(refused.json()["type"], headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "alert rule" in page.text.lower()
    assert json.loads(refused.text)["rule"] == "none"
