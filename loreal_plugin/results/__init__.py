"""What finished runs say: collected from results.json, averaged over seeds, tested, drawn, and put
on a page.
"""
