curl -X GET https://modelpilot.ai/api/deployments/pod123/health \
-H "Authorization: Bearer mp_live_your_api_key"
