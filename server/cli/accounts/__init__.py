"""Commands about who may do what: users, groups, tokens, the audit; logging in to a controller elsewhere."""
