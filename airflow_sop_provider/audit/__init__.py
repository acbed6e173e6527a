"""The audit log as a format: entries, chains, digests, exports, and how anybody verifies them.

Pure standard library, importable without anything of ours: the same modules make up the verifier that travels in every
export, so that an auditor needs Python and nothing else. Who stores entries, signs digests and prunes is elsewhere
(`store`, `api`); what makes an entry right is here, once.
"""
