"""Rows of five public trainers that the package itself does not know, as a user would add them.

PromptSRC keeps a frozen second image encoder and averages its weights over epochs; TCP writes rows
of each class into a text block; KgCoOp draws tensors that it never reads; DePT has a linear head
over the trained classes; CoPrompt has an adapter behind each encoder, and a whole frozen CLIP.
`LOREAL_HOSTS=public_rows` uses them; docs/ADD_A_HOST.md has what adding them took.
"""

from public_rows.coprompt import CoPromptContract
from public_rows.dept import DePTContract
from public_rows.kgcoop import KgCoOpContract
from public_rows.promptsrc import PromptSRCContract
from public_rows.tcp import TCPContract

ROWS = (PromptSRCContract, TCPContract, KgCoOpContract, DePTContract, CoPromptContract)
