"""The SDK's connection: tokens, retries, rate limit, and the local gateway for Terraform's provider."""
