"""Operations on accounts: users, groups, tokens, the audit."""
