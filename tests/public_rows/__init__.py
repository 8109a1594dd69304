"""Rows of two public trainers that the package itself does not know, as a user would add them.

PromptSRC keeps a frozen second image encoder and averages its weights over epochs; TCP writes rows
of each class into a text block. `LOREAL_HOSTS=public_rows` uses them; docs/ADD_A_HOST.md has what
adding them took.
"""

from public_rows.promptsrc import PromptSRCContract
from public_rows.tcp import TCPContract

ROWS = (PromptSRCContract, TCPContract)
