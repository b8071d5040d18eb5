curl -X POST https://modelpilot.ai/api/v1/generate/audio \
-H "Authorization: Bearer mp_live_your_api_key" \
-H "Content-Type: application/json" \
-d '{"model": "kokoro", "text": "Hello, welcome to ModelPilot."}'
