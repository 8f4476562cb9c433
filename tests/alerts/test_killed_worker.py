"""M12, R2: a worker that is killed in the middle of a delivery: the next one delivers it, under the same id."""

import asyncio
import sys

from standardwebhooks import Webhook

from app.alerts.channels import test_channel as send_test
from tests.conftest import TESTER


async def test_a_worker_killed_in_mid_delivery_delivers_again_with_the_same_id(
    database, settings, worker, add_channel, receiver
):
    secret = await add_channel("hook", url=receiver.url)
    receiver.hangs = True
    async with database.writes(TESTER) as session:
        delivery = await send_test(session, "hook")
    where = (settings.database_url.get_secret_value(), str(settings.base_path), "smtp://127.0.0.1:9")
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.alerts.dying", *where)
    try:
        await asyncio.wait_for(receiver.arrived.wait(), 60)
    finally:
        child.kill()
        await child.wait()
    [left] = await worker.rows("SELECT state, attempts FROM alert_delivery")
    assert (left["state"], left["attempts"]) == ("queued", 1)

    receiver.hangs = False
    await worker.execute("UPDATE job SET due_at = now() WHERE state = 'running'")  # the lease has run out
    await worker.work_off()
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == str(delivery.id)
    assert first.body == second.body
    Webhook(secret).verify(second.body, second.headers)
    [ended] = await worker.rows("SELECT state, attempts FROM alert_delivery")
    assert (ended["state"], ended["attempts"]) == ("delivered", 2)
