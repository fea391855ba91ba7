// Feed reads an RSS 2.0 or Atom feed and writes its entries as JSON: the feed on stdin, the JSON on
// stdout.
package main

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"strings"
)

// badData is EX_DATAERR of sysexits.h.
const badData = 65

// document is either kind of feed: RSS has its entries in a channel, Atom at the top.
type document struct {
	XMLName xml.Name
	Title   string  `xml:"title"`
	Entries []entry `xml:"entry"`
	Channel struct {
		Title string  `xml:"title"`
		Items []entry `xml:"item"`
	} `xml:"channel"`
}

// entry has the elements of both kinds; those of the other kind stay empty.
type entry struct {
	Title string `xml:"title"`
	Links []struct {
		Rel  string `xml:"rel,attr"`
		Href string `xml:"href,attr"`
		Text string `xml:",chardata"`
	} `xml:"link"`
	PubDate string `xml:"pubDate"`
	Updated string `xml:"updated"`
}

type feed struct {
	Title   string  `json:"title"`
	Entries []story `json:"entries"`
}

type story struct {
	Title string `json:"title"`
	Link  string `json:"link,omitempty"`
	Date  string `json:"date,omitempty"`
}

func (e entry) story() story {
	s := story{Title: strings.TrimSpace(e.Title), Date: strings.TrimSpace(e.PubDate + e.Updated)}
	for _, link := range e.Links {
		if link.Rel == "" || link.Rel == "alternate" {
			s.Link = strings.TrimSpace(link.Href + link.Text)
		}
	}
	return s
}

func read(in io.Reader) (feed, error) {
	var d document
	if err := xml.NewDecoder(in).Decode(&d); err != nil {
		return feed{}, fmt.Errorf("the payload is not XML: %w", err)
	}
	if name := d.XMLName.Local; name != "rss" && name != "feed" {
		return feed{}, fmt.Errorf("the payload is neither RSS nor Atom, its root is <%s>", name)
	}
	f := feed{Title: strings.TrimSpace(d.Title + d.Channel.Title), Entries: []story{}}
	for _, e := range append(d.Entries, d.Channel.Items...) {
		f.Entries = append(f.Entries, e.story())
	}
	return f, nil
}

func main() {
	feed, err := read(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(badData)
	}
	fmt.Fprintln(os.Stderr, len(feed.Entries), "entries")
	if err := json.NewEncoder(os.Stdout).Encode(feed); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
