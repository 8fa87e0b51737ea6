"""Events as a user of the public ``lumen-python-sdk`` sends them; run by that package's own environment.

Prints the answers' statuses and bodies as JSON. Address and key come from LUMEN_API_URL and LUMEN_API_KEY.
"""

import asyncio
import json

from lumen import send_event


async def main() -> None:
    answers = [
        await send_event(name="image-generation", value=3, user_id="u1", idempotency_key="k1"),
        await send_event(name="image-generation", value=3, user_id="u1", idempotency_key="k1"),
        await send_event(name="image-generation", lumen_customer_id="cus_1"),
        await send_event(name="plan", value="premium", user_id="u1"),
        await send_event(name="image-generation", value=1, user_id="u1", api_key="wrong"),
        await send_event(name="image-generation", value=1),
    ]
    print(json.dumps([[answer.status_code, answer.json()] if answer is not None else None for answer in answers]))


asyncio.run(main())
